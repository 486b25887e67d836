"""The only module that talks to the API server (apart from kopf's watches).

A method builds a path and sends the request through one `kubernetes.aio` ApiClient. Documents are plain dicts: the
client's typed models cost more time than the requests. A write first passes the gate, which is open only while this
process leads; writes and reads each pass a token bucket that serves namespaces in turn, so that an outage ends in a
steady stream and not in a burst (rule C12), and nobody waits for somebody else's ten thousand runs. We do our own
retries: on 429 with Retry-After, 5xx and lost connections.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client

from llm2llm.api.run import GROUP, PLURAL, VERSION
from llm2llm_operator.constants import KUEUE, LABEL_JOB_NAME, LABEL_JOB_UID, LABEL_RUN_UID, OPERATOR
from llm2llm_operator.kube import decode as wire
from llm2llm_operator.kube.errors import ApiUnavailable, Conflict, NotFound, NotLeading, error_of
from llm2llm_operator.kube.ratelimit import RequestRate
from llm2llm_operator.observability import metrics

READ_TIMEOUT = aiohttp.ClientTimeout(total=60)
WRITE_TIMEOUT = aiohttp.ClientTimeout(total=15)
LEASE_TIMEOUT = aiohttp.ClientTimeout(total=4)
"""Short enough that two renewals can fail and a third one still succeeds before the renew deadline."""
TRIES = 5
RUNS = f"/apis/{GROUP}/{VERSION}"
PAGE = 100
"""Maximum number of objects per page of a list. The API server allows objects of 1.5 MB, a hundred times as large as an
ordinary run, and three lists are read in parallel.
"""
PAGE_BYTES = 4 * 1024 * 1024
"""About as much as a page may weigh, by the average of the page before it; a page has at most twice as many objects."""
FIRST_PAGE = 20
WARNINGS_PAGE, WARNINGS_PAGES = 50, 20
"""Warnings per page, and maximum number of pages: an Event has no limit but that of all objects."""
WORKLOAD_VERSIONS = ("v1beta2", "v1beta1")
"""Of Kueue's API, newest first: v1beta2 is served from 0.15 on."""
PODS_OF_A_JOB = 20
"""Maximum number of pods that are read of a Job; `backoffLimit: 0` leaves it with one, and a few that were evicted."""
READ_RATE, READ_BURST = 100.0, 200
"""Reads a second, and at once, beside lists and watches: of a Job that vanished, of late pods, of warnings."""
COLLECTIONS = {
    "runs": (RUNS, PLURAL, ""),
    "jobs": ("/apis/batch/v1", "jobs", LABEL_RUN_UID),
    "pods": ("/api/v1", "pods", LABEL_RUN_UID),
}
"""API path, plural and label selector of what the operator watches."""
Answer = TypeVar("Answer")


class WriteGate:
    """Tells whether this process may write; closed until a new leader has relisted everything, and once its lease
    lapses.
    """

    def __init__(self) -> None:
        self._while: Callable[[], bool] = _never

    def open(self, holds: Callable[[], bool]) -> None:
        """Allows writes for as long as `holds()` is true."""
        self._while = holds

    def close(self) -> None:
        """Blocks all writes."""
        self._while = _never

    def is_open(self) -> bool:
        """Returns whether a write is allowed now."""
        return self._while()

    def check(self) -> None:
        """Raises NotLeading if a write is not allowed now."""
        if not self.is_open():
            raise NotLeading("this replica is not the leader: it writes nothing")


def _never() -> bool:
    return False


class KubeClient:
    """Sends requests to the API server; every method raises ApiError, and those that write raise NotLeading.

    Attributes:
        gate: checked before every write except those to the lease.
    """

    def __init__(
        self, configuration: client.Configuration, *, write_rate: float, write_burst: int, identity: str = ""
    ) -> None:
        self.configuration = configuration
        self.gate = WriteGate()
        self._agent = f"{OPERATOR} ({identity})" if identity else OPERATOR  # an audit log tells the replicas apart
        self._client = client.ApiClient(configuration)
        self._write_rate = RequestRate(write_rate, write_burst)
        self._read_rate = RequestRate(READ_RATE, READ_BURST)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def pages(self, collection: str, namespace: str = "") -> AsyncIterator[wire.Page]:
        """Yields all objects of a collection, page by page."""
        path, plural, selector = COLLECTIONS[collection]
        where = f"{path}/namespaces/{namespace}/{plural}" if namespace else f"{path}/{plural}"
        limit = FIRST_PAGE
        query = {"limit": str(limit)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._request("GET", f"{where}?{urlencode(query)}", decode=wire.decode_page)
            yield page
            if not page.more:
                return
            average = page.size / max(1, len(page.items) + page.unreadable)
            limit = max(1, min(PAGE, 2 * limit, int(PAGE_BYTES / average)))
            query |= {"continue": page.more, "limit": str(limit)}

    async def openapi(self) -> dict[str, Any] | None:
        """Reads the OpenAPI v3 document of AugmentationRun's group and version, which everyone may; returns None if it
        is not served.
        """
        return await self._get("", f"/openapi/v3{RUNS}")

    async def get_run(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Reads a run; returns None if it does not exist."""
        return await self._get(namespace, f"{RUNS}/namespaces/{namespace}/{PLURAL}/{name}")

    async def get_job(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Reads a Job; returns None if it does not exist."""
        return await self._get(namespace, f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")

    async def pods_of_job(self, namespace: str, job: str) -> list[dict[str, Any]]:
        """Lists the pods of a Job."""
        query = urlencode({"labelSelector": f"{LABEL_JOB_NAME}={job}", "limit": str(PODS_OF_A_JOB)})
        page = await self._read(namespace, f"/api/v1/namespaces/{namespace}/pods?{query}")
        return list(page.get("items") or [])

    async def workloads_of_job(self, namespace: str, job_uid: str) -> list[dict[str, Any]]:
        """Lists Kueue's Workloads for a Job, oldest first; none if no version of its API is served."""
        query = urlencode({"labelSelector": f"{LABEL_JOB_UID}={job_uid}", "limit": str(PODS_OF_A_JOB)})
        for version in WORKLOAD_VERSIONS:
            page = await self._get(namespace, f"/apis/{KUEUE}/{version}/namespaces/{namespace}/workloads?{query}")
            if page is not None:
                items = list(page.get("items") or [])
                return sorted(items, key=lambda body: str(body["metadata"].get("creationTimestamp", "")))
        return []

    async def warnings(self, namespace: str) -> AsyncIterator[dict[str, Any]]:
        """Yields the Events of a namespace that warn: only they say what was refused or could not be mounted."""
        query = {"fieldSelector": "type=Warning", "limit": str(WARNINGS_PAGE)}
        for _ in range(WARNINGS_PAGES):
            page = await self._read(namespace, f"/api/v1/namespaces/{namespace}/events?{urlencode(query)}")
            for event in page.get("items") or ():
                yield event
            more = page["metadata"].get("continue")
            if not more:
                return
            query["continue"] = more

    async def patch_status(self, namespace: str, name: str, version: int, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Applies a merge patch to a run's status, only if no one wrote since `version` (rule C6). Raises Conflict."""
        body = {"metadata": {"resourceVersion": str(version)}, "status": patch}
        path = f"{RUNS}/namespaces/{namespace}/{PLURAL}/{name}/status"
        return await self._write(namespace, "PATCH", path, body, kind="status")

    async def create_job(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        """Creates a Job; if it already exists (an earlier response was lost), returns the existing one."""
        try:
            path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
            return await self._write(namespace, "POST", path, body, kind="create")
        except Conflict:
            existing = await self.get_job(namespace, body["metadata"]["name"])
            if existing is None:
                raise
            return existing

    async def delete_job(self, namespace: str, name: str, uid: str, propagation: str) -> None:
        """Deletes the Job with this UID; succeeds if it is gone or another one has its name (rule C4)."""
        body = {"propagationPolicy": propagation, "preconditions": {"uid": uid}}
        try:
            path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"
            await self._write(namespace, "DELETE", path, body, kind="delete")
        except (NotFound, Conflict):
            return

    async def delete_run(self, namespace: str, name: str, uid: str) -> None:
        """Deletes the run with this UID; its Jobs are deleted with it, its artifacts stay."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            path = f"{RUNS}/namespaces/{namespace}/{PLURAL}/{name}"
            await self._write(namespace, "DELETE", path, body, kind="delete")
        except (NotFound, Conflict):
            return

    async def create_event(self, namespace: str, body: dict[str, Any]) -> None:
        """Creates an Event; succeeds if it exists already, or if its namespace is terminating: then no one would read
        it.
        """
        try:
            await self._write(namespace, "POST", f"/api/v1/namespaces/{namespace}/events", body, kind="event")
        except (Conflict, NotFound):
            return

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Reads a Lease, or returns None. Tries once: the elector has its own schedule, and our writes must not delay
        it.
        """
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        try:
            return await self._send("GET", path, None, LEASE_TIMEOUT, wire.decode)
        except NotFound:
            return None

    async def put_lease(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        """Creates a Lease, or updates it if no one wrote since its version. Raises Conflict."""
        metrics.API_WRITES.labels("lease").inc()
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        if "resourceVersion" not in body["metadata"]:
            return await self._send("POST", path, body, LEASE_TIMEOUT, wire.decode)
        return await self._send("PUT", f"{path}/{body['metadata']['name']}", body, LEASE_TIMEOUT, wire.decode)

    async def _get(self, namespace: str, path: str) -> dict[str, Any] | None:
        try:
            return await self._read(namespace, path)
        except NotFound:
            return None

    async def _read(self, namespace: str, path: str) -> dict[str, Any]:
        await self._read_rate.take(namespace)
        return await self._request("GET", path, decode=wire.decode)

    async def _write(
        self, namespace: str, method: str, path: str, body: Mapping[str, Any], *, kind: str
    ) -> dict[str, Any]:
        await self._write_rate.take(namespace)
        metrics.API_WRITES.labels(kind).inc()
        return await self._request(method, path, body, decode=wire.decode)

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, decode: Callable[[bytes], Answer]
    ) -> Answer:
        """Sends a request and retries it: each pause is longer, with jitter, and at least as long as the server asks
        for.
        """
        request_timeout = READ_TIMEOUT if method == "GET" else WRITE_TIMEOUT
        for attempt in range(TRIES):
            if method != "GET":
                self.gate.check()
            try:
                return await self._send(method, path, body, request_timeout, decode)
            except ApiUnavailable as error:
                if attempt + 1 == TRIES:
                    raise
                await asyncio.sleep(max(error.retry_after, random.uniform(0.5, 1.0) * 0.2 * 2**attempt))  # noqa: S311 - jitter
        raise AssertionError("the last attempt returns or raises")

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        request_timeout: aiohttp.ClientTimeout,
        decode: Callable[[bytes], Answer],
    ) -> Answer:
        headers = {"Accept": "application/json", "User-Agent": self._agent}
        headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        token = await self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        try:
            response = await self._client.call_api(
                method, self.configuration.host + path, headers, body=body, _request_timeout=request_timeout
            )
            data: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            metrics.API_ERRORS.labels("connection").inc()
            raise ApiUnavailable(0, type(error).__name__, str(error)) from error
        if response.status < 400:  # noqa: PLR2004
            return _decode_answer(data, decode)
        document = _decode_answer(data, wire.decode) if data[:1] == b"{" else {}
        metrics.API_ERRORS.labels(str(response.status)).inc()
        api_error = error_of(
            response.status,
            document.get("reason", ""),
            document.get("message", data[:200].decode(errors="replace")),
            response.headers.get("Retry-After", ""),
            [cause.get("reason", "") for cause in (document.get("details") or {}).get("causes") or ()],
        )
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            (self._read_rate if method == "GET" else self._write_rate).slow_down()
        raise api_error


def _decode_answer(data: bytes, decode: Callable[[bytes], Answer]) -> Answer:
    """Decodes a response; one that is not JSON comes from something between us and the API server."""
    try:
        return decode(data)
    except wire.JsonError as error:
        raise ApiUnavailable(0, "BadAnswer", f"{error}: {data[:100].decode(errors='replace')}") from error
