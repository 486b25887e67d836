"""The only module that talks to the API server (kopf's watches aside).

Raw documents over one `kubernetes.aio` ApiClient: its typed models cost more time than the requests. Retries are our
own (429 with Retry-After, 5xx, lost connections), and writes pass a token bucket, so that an outage ends in a steady
stream and not in a burst (rule C12).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from llm2llm.api.run import GROUP, PLURAL, VERSION
from llm2llm_operator.constants import LABEL_JOB_NAME, LABEL_RUN_UID, OPERATOR
from llm2llm_operator.kube import decode as wire
from llm2llm_operator.kube.errors import ApiUnavailable, Conflict, NotFound, NotLeading, error_of
from llm2llm_operator.kube.ratelimit import WriteRate
from llm2llm_operator.observability import metrics

READ_TIMEOUT = aiohttp.ClientTimeout(total=60)
WRITE_TIMEOUT = aiohttp.ClientTimeout(total=15)
LEASE_TIMEOUT = aiohttp.ClientTimeout(total=4)
"""Short, so that two renewals can fail and a third one still succeed before the renew deadline."""
TRIES = 5
CONNECTIONS = 128
"""More than workers, so that the lease never waits for them."""
RUNS = f"/apis/{GROUP}/{VERSION}"
PAGE = 250
"""Objects in one answer to a list: three are read at once, and cutting one up holds the event loop for some 3 ms."""
COLLECTIONS = {
    "runs": (RUNS, PLURAL, ""),
    "jobs": ("/apis/batch/v1", "jobs", LABEL_RUN_UID),
    "pods": ("/api/v1", "pods", LABEL_RUN_UID),
}
Answer = TypeVar("Answer")
"""API path, plural and label selector of what the operator watches."""


async def load_configuration() -> client.Configuration:
    """Where the API server is: the pod's ServiceAccount, or KUBECONFIG."""
    configuration = client.Configuration()
    configuration.retries = None
    configuration.connection_pool_maxsize = CONNECTIONS
    # By default aiohttp looks for a .netrc before each request, in a thread: a third of what a request costs.
    configuration.client_session_kwargs = {"trust_env": False}
    if "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return configuration


class WriteGate:
    """Whether this process may write. Closed until a leader has listed everything anew, and when its lease lapses."""

    def __init__(self) -> None:
        self._while: Callable[[], bool] = _never

    def open(self, holds: Callable[[], bool]) -> None:
        """Lets writes pass for as long as `holds()`."""
        self._while = holds

    def close(self) -> None:
        """Lets no write pass."""
        self._while = _never

    def is_open(self) -> bool:
        """Whether a write would pass now."""
        return self._while()

    def check(self) -> None:
        """Raises NotLeading where a write may not pass."""
        if not self.is_open():
            raise NotLeading("this replica is not the leader: it writes nothing")


def _never() -> bool:
    return False


class KubeClient:
    """Requests to the API server; every method raises ApiError, and those that write raise NotLeading.

    Attributes:
        gate: what every write passes, those to the lease aside.
    """

    def __init__(
        self, configuration: client.Configuration, *, write_rate: float, write_burst: int, identity: str = ""
    ) -> None:
        self.configuration = configuration
        self.gate = WriteGate()
        self._agent = f"{OPERATOR} ({identity})" if identity else OPERATOR  # an audit log tells the replicas apart
        self._client = client.ApiClient(configuration)
        self._write_rate = WriteRate(write_rate, write_burst)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def pages(self, collection: str, namespace: str = "") -> AsyncIterator[wire.Page]:
        """All objects of a collection, page by page."""
        path, plural, selector = COLLECTIONS[collection]
        where = f"{path}/namespaces/{namespace}/{plural}" if namespace else f"{path}/{plural}"
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._request("GET", f"{where}?{urlencode(query)}", decode=wire.decode_page)
            yield page
            if not page.more:
                return
            query["continue"] = page.more

    async def get_run(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A run as it is now, or None."""
        return await self._get(f"{RUNS}/namespaces/{namespace}/{PLURAL}/{name}")

    async def get_job(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Job as it is now, or None."""
        return await self._get(f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")

    async def pods_of_job(self, namespace: str, job: str) -> list[dict[str, Any]]:
        """The pods of a Job as they are now."""
        query = urlencode({"labelSelector": f"{LABEL_JOB_NAME}={job}"})
        page = await self._request("GET", f"/api/v1/namespaces/{namespace}/pods?{query}", decode=wire.decode)
        return list(page.get("items") or [])

    async def events_about(self, namespace: str, uids: list[str]) -> list[dict[str, Any]]:
        """Events about these objects: what was refused or could not be mounted is told nowhere else."""
        found: list[dict[str, Any]] = []
        for uid in uids:
            query = urlencode({"fieldSelector": f"involvedObject.uid={uid}"})
            path = f"/api/v1/namespaces/{namespace}/events?{query}"
            page = await self._request("GET", path, decode=wire.decode)
            found += page.get("items") or []
        return found

    async def patch_status(self, namespace: str, name: str, version: int, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Writes a merge patch to a run's status, only if nobody wrote since `version` (rule C6). Raises Conflict."""
        body = {"metadata": {"resourceVersion": str(version)}, "status": patch}
        path = f"{RUNS}/namespaces/{namespace}/{PLURAL}/{name}/status"
        return await self._write("PATCH", path, body, kind="status")

    async def create_job(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        """Creates a Job; of one that exists already (an earlier answer was lost) that one is returned."""
        try:
            return await self._write("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body, kind="create")
        except Conflict:
            existing = await self.get_job(namespace, body["metadata"]["name"])
            if existing is None:
                raise
            return existing

    async def delete_job(self, namespace: str, name: str, uid: str, propagation: str) -> None:
        """Deletes this very Job; that it is gone already, or another one has its name, is success (rule C4)."""
        body = {"propagationPolicy": propagation, "preconditions": {"uid": uid}}
        try:
            await self._write("DELETE", f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}", body, kind="delete")
        except (NotFound, Conflict):
            return

    async def delete_run(self, namespace: str, name: str, uid: str) -> None:
        """Deletes this very run; its Jobs go with it, its artifacts stay."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._write("DELETE", f"{RUNS}/namespaces/{namespace}/{PLURAL}/{name}", body, kind="delete")
        except (NotFound, Conflict):
            return

    async def create_event(self, namespace: str, body: dict[str, Any]) -> None:
        """Writes an Event; one that exists already is success, and where its namespace ends nobody reads it."""
        try:
            await self._write("POST", f"/api/v1/namespaces/{namespace}/events", body, kind="event")
        except (Conflict, NotFound):
            return

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Lease as it is now, or None. One try: the elector has its own pace, and no write of ours delays it."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        try:
            return await self._once("GET", path, None, LEASE_TIMEOUT, wire.decode)
        except NotFound:
            return None

    async def put_lease(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        """Creates a Lease, or updates it if nobody wrote since its version. Raises Conflict."""
        metrics.API_WRITES.labels("lease").inc()
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        if "resourceVersion" not in body["metadata"]:
            return await self._once("POST", path, body, LEASE_TIMEOUT, wire.decode)
        return await self._once("PUT", f"{path}/{body['metadata']['name']}", body, LEASE_TIMEOUT, wire.decode)

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._request("GET", path, decode=wire.decode)
        except NotFound:
            return None

    async def _write(self, method: str, path: str, body: Mapping[str, Any], *, kind: str) -> dict[str, Any]:
        await self._write_rate.take()
        metrics.API_WRITES.labels(kind).inc()
        return await self._request(method, path, body, decode=wire.decode)

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, decode: Callable[[bytes], Answer]
    ) -> Answer:
        """One request with its retries: each waits longer, with jitter, or as long as the server asks for."""
        patience = READ_TIMEOUT if method == "GET" else WRITE_TIMEOUT
        for attempt in range(TRIES):
            if method != "GET":
                self.gate.check()
            try:
                return await self._once(method, path, body, patience, decode)
            except ApiUnavailable as error:
                if attempt + 1 == TRIES:
                    raise
                await asyncio.sleep(max(error.retry_after, random.uniform(0.5, 1.0) * 0.2 * 2**attempt))  # noqa: S311 - jitter
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        patience: aiohttp.ClientTimeout,
        decode: Callable[[bytes], Answer],
    ) -> Answer:
        headers = {"Accept": "application/json", "User-Agent": self._agent}
        headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        token = await self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        try:
            response = await self._client.call_api(
                method, self.configuration.host + path, headers, body=body, _request_timeout=patience
            )
            data: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            metrics.API_ERRORS.labels("connection").inc()
            raise ApiUnavailable(0, type(error).__name__, str(error)) from error
        if response.status < 400:  # noqa: PLR2004
            return _read(data, decode)
        document = _read(data, wire.decode) if data[:1] == b"{" else {}
        metrics.API_ERRORS.labels(str(response.status)).inc()
        refused = error_of(
            response.status,
            document.get("reason", ""),
            document.get("message", data[:200].decode(errors="replace")),
            response.headers.get("Retry-After", ""),
            [cause.get("reason", "") for cause in (document.get("details") or {}).get("causes") or ()],
        )
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._write_rate.slow_down()
        raise refused


def _read(data: bytes, decode: Callable[[bytes], Answer]) -> Answer:
    """An answer that is no JSON comes from something between us and the API server."""
    try:
        return decode(data)
    except wire.JsonError as error:
        raise ApiUnavailable(0, "BadAnswer", f"{error}: {data[:100].decode(errors='replace')}") from error
