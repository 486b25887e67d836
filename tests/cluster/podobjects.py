"""What a pod needs from the API server beside itself: Secrets, ConfigMaps, its token; and its events."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Any

from tests.cluster.apiclient import ApiClient, ApiError
from tests.cluster.podspec import Objects, Reference, Spec, object_data, references

_FORBIDDEN = 403
_NOT_FOUND = 404
_AUTHORIZER_TRIES = 40
_AUTHORIZER_PAUSE = 0.05
_RESOURCES = {"Secret": "secrets", "ConfigMap": "configmaps"}


class PodObjects:
    """Reads as the node, so the Node authorizer decides what it may see."""

    def __init__(self, api: ApiClient, node: str, pod: Spec) -> None:
        self._api, self._node, self._pod = api, node, pod
        self._namespace = pod["metadata"]["namespace"]
        self._references = references(pod)

    async def fetch(self) -> Objects:
        """Everything that the pod refers to, as it is now; None for what does not exist."""
        found = await asyncio.gather(*[self._get(one) for one in self._references])
        return dict(zip(self._references, found, strict=True))

    async def warn(self, reason: str, message: str) -> None:
        """Writes a Warning event about the pod."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = self._pod["metadata"]
        event = {
            "metadata": {"name": f"{meta['name']}.{secrets.token_hex(8)}", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": meta["name"],
                "namespace": self._namespace,
                "uid": meta["uid"],
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._api.request("POST", f"/api/v1/namespaces/{self._namespace}/events", event)
        except ApiError as error:
            if error.code not in (_FORBIDDEN, _NOT_FOUND):  # the namespace is going, and the pod with it
                raise

    async def _get(self, reference: Reference) -> dict[str, bytes] | None:
        if reference.kind == "Token":
            return await self._token(reference.name)
        path = f"/api/v1/namespaces/{self._namespace}/{_RESOURCES[reference.kind]}/{reference.name}"
        for _ in range(_AUTHORIZER_TRIES):
            try:
                return object_data(reference.kind, await self._api.request("GET", path))
            except ApiError as error:
                if error.code == _NOT_FOUND:
                    return None
                if error.code != _FORBIDDEN:
                    raise
            # The authorizer learns which objects the pod refers to from a watch of its own, a moment after us.
            await asyncio.sleep(_AUTHORIZER_PAUSE)
        return None

    async def _token(self, audience: str) -> dict[str, bytes] | None:
        meta = self._pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec: dict[str, Any] = {"expirationSeconds": 3607, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        account = self._pod["spec"].get("serviceAccountName", "default")
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{account}/token"
        for _ in range(_AUTHORIZER_TRIES):
            try:
                answer = await self._api.request("POST", path, {"spec": spec})
            except ApiError as error:
                if error.code not in (_FORBIDDEN, _NOT_FOUND):
                    raise
                await asyncio.sleep(_AUTHORIZER_PAUSE)
            else:
                return {"token": answer["status"]["token"].encode()}
        return None
