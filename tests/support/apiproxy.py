"""A proxy between one operator and the API server that strikes at its n-th write, or lets a storm pass over everything.

TLS ends here with a certificate that the operator's kubeconfig trusts; what passes is unchanged, watches stream. It
counts what the operator writes (POST, PUT, PATCH, DELETE; Events and Leases aside) and at the n-th write plays one of
the faults that a network and a crash can play, at exactly that moment. A storm (`storm.py`) strikes at random.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.cluster import credentials
from tests.cluster.controlplane import Cluster
from tests.support.storm import Gust, Storm, refusal, watch_error

# RFC 9110, 7.6.1: these are about one connection.
HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Host")
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
NOT_COUNTED = frozenset({"events", "leases"})


class Fault(StrEnum):
    """What happens at a write."""

    KILLED_BEFORE = "killed before it"
    """The operator dies, and the write never reaches the API server."""
    KILLED_AFTER = "killed after it"
    """The API server carried it out, and the operator dies before it has the answer."""
    ANSWER_LOST = "answer lost"
    """The API server carried it out, and the connection breaks; the operator lives."""


@dataclass(frozen=True)
class Write:
    """A write that the proxy counted; `code` is the API server's answer, 0 where it was never asked."""

    verb: str
    resource: str
    name: str
    code: int

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.name}"


@dataclass(frozen=True)
class Reply:
    """An answer in the API server's place.

    Attributes:
        status: the HTTP status; with an error, the body is the Status document that the API server would send.
        headers: further headers.
        events: what a watch is told; then it ends, or says nothing more if it is `silent`.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()
    silent: bool = False


class ApiProxy:
    """A proxy in a thread of its own.

    Attributes:
        reply: asked at every request with its method and its path with query; None lets the request pass. May be
            replaced at any time; it is called in the proxy's thread.
        kubeconfig: a service account's, through the proxy.
        writes: what was written, in order.
        struck: set once the fault has happened.
    """

    def __init__(
        self, cluster: Cluster, folder: Path, *, namespace: str, service_account: str, storm: Storm | None = None
    ) -> None:
        """Takes whom it stands before, a folder for its certificate, and what befalls its requests."""
        self._storm = storm
        folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = folder / "proxy.kubeconfig"
        self.writes: list[Write] = []
        self.struck = threading.Event()
        self.reply: Callable[[str, str], Reply | None] = lambda _method, _path: None
        self._streams: set[asyncio.Transport] = set()
        self._upstream = cluster.server
        self._trust = ssl.create_default_context(cafile=str(cluster.authority))
        self._certificate, self._key = folder / "proxy.crt", folder / "proxy.key"
        # read at once: whoever starts an operator for this account writes the file anew
        direct = json.loads(cluster.kubeconfig_for(namespace, service_account).read_text())
        self._token: str = direct["users"][0]["user"]["token"]
        self._nth, self._fault, self._kill = 0, Fault.ANSWER_LOST, _nobody
        self._counted = 0
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop: Callable[[], object] = lambda: None
        self._call: Callable[[Callable[[], None]], object] = lambda _: None
        self._thread = threading.Thread(target=self._main, name="api-proxy", daemon=True)

    def __enter__(self) -> ApiProxy:
        credentials.write_self_signed(self._certificate, self._key)
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        if self._thread.is_alive():
            self._thread.join()

    def arm(self, nth: int, fault: Fault, kill: Callable[[], None] | None = None) -> None:
        """Counts anew, and plays the fault at the n-th write from now on (from 1; 0: at none).

        Args:
            nth: which write.
            fault: what happens there.
            kill: ends the operator; when it returns, the operator must be dead. It is called in the proxy's thread.
        """
        self.struck.clear()
        self.writes = []
        self._counted, self._fault, self._kill, self._nth = 0, fault, kill or _nobody, nth

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the starting thread raises it
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self._certificate, self._key)
        app = web.Application(client_max_size=16 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._pass)
        # a watch whose client was killed ends at once
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
                host, port = runner.addresses[0][:2]
                self._write_kubeconfig(f"https://{host}:{port}")
                self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
                self._call = loop.call_soon_threadsafe
                self._ready.set()
                await stopped.wait()
            finally:
                await runner.cleanup()
        await asyncio.sleep(0.1)  # TLS transports close in a later turn of the loop (aiohttp's "graceful shutdown")

    def _write_kubeconfig(self, server: str) -> None:
        credentials.write_kubeconfig(self.kubeconfig, server=server, authority=self._certificate, token=self._token)

    def cut_watches(self) -> int:
        """Breaks the connections of all watches that are under way; returns how many there were."""
        done = threading.Event()
        found = len(self._streams)

        def cut() -> None:
            for transport in list(self._streams):
                transport.abort()
            done.set()

        self._call(cut)
        done.wait()
        return found

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        reply = self.reply(request.method, request.raw_path)
        if reply is not None:
            return await _answer(request, reply)
        counted = request.method in WRITES and not NOT_COUNTED & set(request.path.split("/"))
        self._counted += counted
        strikes = counted and self._counted == self._nth
        gust = self._storm.at_request(request) if self._storm else None
        unasked = self._without_asking(request, strikes, gust)
        if unasked is not None:
            if counted:
                self.writes.append(_write(request, body, 0))
            return unasked
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            data=body or None,
            headers=_end_to_end(request.headers),
            allow_redirects=False,
        ) as answer:
            headers = _end_to_end(answer.headers)
            if request.query.get("watch"):
                transport = request.transport
                if transport is None:
                    return self._cut(request)
                self._streams.add(transport)
                try:
                    return await self._stream(request, answer, headers)
                finally:
                    self._streams.discard(transport)
            data = await answer.read()
        if counted:
            self.writes.append(_write(request, body, answer.status))
        if strikes and self._fault is Fault.KILLED_AFTER:
            self._kill()
        if strikes or gust is Gust.ANSWER_LOST:
            return self._cut(request)
        return web.Response(status=answer.status, headers=headers, body=data)

    def _without_asking(self, request: web.Request, strikes: bool, gust: Gust | None) -> web.Response | None:
        """What befalls a request before the API server has it; None where nothing does."""
        if strikes and self._fault is Fault.KILLED_BEFORE:
            self._kill()
            return self._cut(request)
        if gust is Gust.REQUEST_LOST:
            return self._cut(request)
        return None if gust in (None, Gust.ANSWER_LOST) else refusal(gust)

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):  # either side is gone
            try:
                async with asyncio.timeout(self._storm.watch_seconds() if self._storm else None):
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
            except TimeoutError:
                gust = self._storm.at_watch() if self._storm else Gust.WATCH_CUT
                if gust is Gust.WATCH_CUT:
                    return self._cut(request)
                await response.write(watch_error(gust))
            await response.write_eof()
        return response

    def _cut(self, request: web.Request) -> web.Response:
        """Breaks the connection; what the handler returns reaches nobody."""
        if request.transport is not None:
            request.transport.abort()
        self.struck.set()
        return web.Response(status=500)


async def _answer(request: web.Request, reply: Reply) -> web.StreamResponse:
    if reply.status >= 400:
        document = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": reply.status,
            "message": "as told",
        }
        return web.json_response(document, status=reply.status, headers=reply.headers)
    response = web.StreamResponse(status=reply.status, headers={"Content-Type": "application/json", **reply.headers})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for event in reply.events:
            await response.write(json.dumps(event).encode() + b"\n")
        if reply.silent:
            await asyncio.Event().wait()
        await response.write_eof()
    return response


def _end_to_end(headers: Any) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in HOP_BY_HOP:
        kept.popall(name, None)
    return kept


def _write(request: web.Request, body: bytes, code: int) -> Write:
    """What a request writes: /api/v1/namespaces/NS/RESOURCE[/NAME[/SUBRESOURCE]], or a group's path."""
    parts = request.path.split("/namespaces/", 1)[1].split("/")[1:]
    resource, name, subresource = (*parts, "", "")[:3]
    if not name:
        name = json.loads(body)["metadata"]["name"]
    return Write(request.method, f"{resource}/{subresource}" if subresource else resource, name, code)


def _nobody() -> None:
    raise AssertionError("the proxy was not told whom to kill")
