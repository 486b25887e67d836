"""S3 that fails now and then: a proxy before a real server that answers 503, or swallows an answer."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cluster.s3 import S3Server
from tests.support import keyword, pauses

from llm2llm.api.data import Artifacts
from llm2llm.artifacts.commit import commit
from llm2llm.errors import Transient
from llm2llm.records import Report, Stage
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage.s3 import S3Store

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class Proxy:
    """Hands requests on; `refuse` of them are answered with `refusal` first, and the answers of `swallow` are lost."""

    server: S3Server
    refuse: int = 0
    refusal: tuple[int, bytes] = (503, SLOW_DOWN)
    swallow: int = 0
    requests: list[str] = field(default_factory=list)

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
        upstream = http.client.HTTPConnection(self.server.endpoint.removeprefix("http://"), timeout=30)
        # The Host header is signed: it stays the proxy's.
        upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        return upstream.getresponse()


def handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.requests.append(self.command)
            if proxy.refuse:
                proxy.refuse -= 1
                status, content = proxy.refusal
                return self.reply(status, {"Content-Type": "application/xml"}, content)
            answer = proxy.pass_on(self.command, self.path, dict(self.headers.items()), body)
            content = answer.read()
            if proxy.swallow:
                proxy.swallow -= 1
                self.close_connection = True
                return self.connection.close()
            kept = {name: value for name, value in answer.headers.items() if name not in ("Content-Length", "Date")}
            return self.reply(answer.status, kept, content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one  # noqa: N815

        def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that was cut on purpose is no news."""


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses.leave_out(monkeypatch, pauses.OF_S3)


@pytest.fixture
def proxy(s3: S3Server) -> Proxy:
    return Proxy(s3)


@pytest.fixture
def connect(proxy: Proxy, s3: S3Server, prefix: str) -> Iterator[Callable[[int], S3Store]]:
    """Makes a store behind the proxy, with so many attempts."""
    with _Server(("127.0.0.1", 0), handler(proxy)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        artifacts = Artifacts.model_validate(
            {"uri": "s3://bucket/x", "endpoint": f"http://127.0.0.1:{server.server_port}", "pathStyle": True}
        )
        yield lambda attempts: S3Store(f"s3://bucket/{prefix}", artifacts, s3.environment, attempts=attempts)
        server.shutdown()


def test_fault_30_throttling_is_ridden_out(proxy: Proxy, connect: Callable[[int], S3Store]) -> None:
    store = connect(5)
    proxy.refuse = 2
    store.write("key", b"data")
    proxy.refuse = 2

    assert store.read("key") == b"data"
    assert proxy.requests == ["PUT"] * 3 + ["GET"] * 3


def test_fault_30_throttling_that_does_not_end_is_transient(proxy: Proxy, connect: Callable[[int], S3Store]) -> None:
    store = connect(2)
    proxy.refuse = 100

    with pytest.raises(Transient, match="SlowDown"):
        store.read("key")
    assert len(proxy.requests) == 2


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<Error><Code>ConditionalRequestConflict</Code></Error>", id="a conditional put beside another"),
        pytest.param(b"<Error><Code>OperationAborted</Code></Error>", id="an operation that is not over"),
        pytest.param(b"", id="without a word"),
    ],
)
def test_a_conflict_with_another_write_of_the_same_key_is_tried_again(
    proxy: Proxy, connect: Callable[[int], S3Store], content: bytes
) -> None:
    store = connect(5)
    proxy.refuse, proxy.refusal = 2, (409, content)

    assert store.create("key", b"data")
    assert proxy.requests == ["PUT"] * 3
    assert store.read("key") == b"data"


def test_fault_07_a_commit_whose_answer_is_lost_is_this_writers_own(
    proxy: Proxy, connect: Callable[[int], S3Store]
) -> None:
    store = connect(5)
    run = keyword.Run(
        keyword.spec(seed_uri="file:///s", evaluation_uri="file:///e", model_uri="file:///m", artifacts_uri="file:///a")
    )
    step = run.step(Stage.PREPARE)
    report = _commit(store, step, lambda: setattr(proxy, "swallow", 1))

    assert proxy.swallow == 0
    assert report.message == "mine"
    assert _commit(store, step, lambda: None).digest == report.digest


def _commit(store: S3Store, step: Step, before_manifest: Callable[[], None]) -> Report:
    create = store.create

    def created(key: str, data: bytes) -> bool:
        before_manifest()
        return create(key, data)

    store.create = created  # type: ignore[method-assign]
    told = Report(run_uid=step.run_uid, stage=step.stage, message="mine")
    return commit(store, step, StepContext(pod_uid="pod-1", scratch=Path()), {"seed.jsonl": b"{}"}, told)
