"""Serves /metrics and the probes /readyz and /healthz; the operator's only HTTP server.

With a certificate, /metrics has a port of its own, over TLS, and the other port has the probes alone: a kubelet asks
them without TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from ssl import SSLContext

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Probe = Callable[[], str]
"""Returns what is wrong, or an empty string."""


async def serve(
    host: str,
    port: int,
    *,
    ready: Probe,
    healthy: Probe,
    tls: SSLContext | None = None,
    tls_port: int = 0,
) -> None:
    """Serves until cancelled; /metrics on `tls_port` if there is `tls`, otherwise on `port`."""
    probes = [web.get("/readyz", _page(ready)), web.get("/healthz", _page(healthy))]
    metrics = [web.get("/metrics", _metrics_page)]
    async with AsyncExitStack() as servers:
        if tls is None:
            await _start(servers, [*probes, *metrics], host, port)
        else:
            await _start(servers, probes, host, port)
            await _start(servers, metrics, host, tls_port, tls)
        await asyncio.Event().wait()


async def _start(
    servers: AsyncExitStack, routes: list[web.RouteDef], host: str, port: int, tls: SSLContext | None = None
) -> None:
    """Starts a server, which ends with `servers`."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    servers.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port, ssl_context=tls).start()


async def _metrics_page(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _page(probe: Probe) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = probe()
        return web.Response(text=wrong or "ok", status=503 if wrong else 200)

    return answer
