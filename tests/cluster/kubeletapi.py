"""The part of a kubelet's own API that `kubectl logs` needs, over TLS on loopback.

The caller is not authenticated: whoever can reach this machine's loopback may read the logs of test pods.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from tests.cluster.credentials import write_self_signed
from tests.cluster.podworker import PodWorker

_POLL_SECONDS = 0.1


class KubeletApi:
    """Serves container logs."""

    def __init__(self, find: Callable[[str, str], PodWorker | None]) -> None:
        """Takes how a pod is found by namespace and name."""
        self._find = find

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs)]

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        namespace, pod, container = (request.match_info[key] for key in ("namespace", "pod", "container"))
        worker = self._find(namespace, pod)
        if worker is None:
            raise web.HTTPNotFound(text=f'pod "{pod}" not found on this node')
        if container not in worker.state.containers:
            raise web.HTTPNotFound(text=f'container "{container}" not found in pod "{pod}"')
        path = worker.folder.log(container)
        if not path.exists():
            raise web.HTTPBadRequest(text=f'container "{container}" in pod "{pod}" is waiting to start')
        response = web.StreamResponse()
        await response.prepare(request)
        with path.open("rb") as log:
            text = log.read()
            tail, limit = request.query.get("tailLines"), request.query.get("limitBytes")
            if tail is not None:
                text = b"".join(text.splitlines(keepends=True)[-int(tail) :]) if int(tail) else b""
            await response.write(text[: int(limit)] if limit is not None else text)
            while request.query.get("follow") in ("true", "1"):
                over = not worker.running
                if text := log.read():
                    await response.write(text)
                elif over:
                    break
                else:
                    await asyncio.sleep(_POLL_SECONDS)
        await response.write_eof()
        return response


def serving_tls(folder: Path) -> ssl.SSLContext:
    """TLS with a certificate that signs itself: the API server does not verify its kubelets here."""
    certificate, key = folder / "kubelet.crt", folder / "kubelet.key"
    if not certificate.exists():
        write_self_signed(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
