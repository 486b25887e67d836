"""Servers that are no MLflow, or refuse, or never answer: a step says so in one line and ends as it would without."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.trackedrun import TrackedRun

from llm2llm.report import mlflow_api

KEY = "mlflow-key-0123456789"
KEYS = {"LLM2LLM_MLFLOW_TOKEN": KEY}
SECRET = {"credentialsSecretRef": {"name": "mlflow"}}


@dataclass
class Stub:
    """Gives every request one answer.

    Attributes:
        authorizations: the header of each request.
        hold: set to let go of requests that are not answered (status 0).
    """

    port: int = 0
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    authorizations: list[str | None] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.authorizations.append(self.headers["Authorization"])
            if not stub.status:
                stub.hold.wait(30)
                return
            body = stub.body.replace(b"ECHO", str(self.headers["Authorization"]).encode())
            self.send_response(stub.status)
            for name, value in ({"Content-Length": str(len(body))} | stub.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name that the library looks for

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield stub
    stub.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no outage."""
    monkeypatch.setattr(mlflow_api, "CALL_SECONDS", 120.0)
    monkeypatch.setattr(mlflow_api, "TOTAL_SECONDS", 600.0)


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    run = TrackedRun(tmp_path / "run")
    run.iterate(0, 0.5)
    return run


def message(run: TrackedRun, stub: Stub, environ: dict[str, str] | None = None, **more: Any) -> str:
    """Tracks the run and returns the one thing that its step says; its report is that of a step without tracking."""
    tracked = run.step_again(0, environ, tracking={"mlflow": {"uri": stub.address, **more}})
    assert tracked == run.step_again(0)
    [event] = run.events
    assert event.keys() == {"stage", "message"}
    text = str(event["message"])
    assert text.startswith(f"MLflow at {stub.address} was not brought up to date: ")
    assert "\n" not in text
    return text


HTML = b"<!doctype html><title>Welcome</title>"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"Unauthorized", "refused the request with 401: name a Secret in spec.tracking.mlflow.credentialsSecretRef"),
        (403, b'{"error_code": "PERMISSION_DENIED"}', "refused the request with 403"),
        (404, HTML, "experiments/get-by-name answered 404 without a JSON object: is spec.tracking.mlflow.uri the address"),
        (500, HTML, "answered 500 without a JSON object"),
        (500, b'{"message": "the database\\nis\\u001b[31m full"}', "experiments/get-by-name answered 500: the database is full."),
        (503, b"{}", "answered 503: no message"),
        (200, b"", "answered 200 without a JSON object"),
        (200, b"[]", "answered 200 without a JSON object"),
        (200, b"[" * 100_000, "answered 200 without a JSON object"),
        (200, b"\x1f\x8b\xff", "answered 200 without a JSON object"),
        (200, b"{}", "an answer has no valid experiment.experiment_id"),
        (200, b'{"experiment": {"experiment_id": [1]}}', "an answer has no valid experiment.experiment_id"),
        (200, b'{"experiment": {"experiment_id": "1"}}', "an answer has no valid run"),
        (200, b'{"experiment": {"experiment_id": "1"}, "runs": [{"info": {}}]}', "an answer has no valid runs"),
        (200, b'{"experiment": {"experiment_id": "1"}, "runs": "none"}', "an answer has no valid runs"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_told_with_what_to_do(
    run: TrackedRun, stub: Stub, status: int, body: bytes, words: str
):
    stub.status, stub.body = status, body
    assert words in message(run, stub)


def test_refused_keys_are_told_by_the_secret_that_has_them(run: TrackedRun, stub: Stub):
    stub.status = 401
    assert (
        "check Secret mlflow, key MLFLOW_TRACKING_TOKEN, or keys MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    ) in message(run, stub, KEYS, **SECRET)


@pytest.mark.parametrize(
    ("environ", "more", "authorization"),
    [
        pytest.param(KEYS, SECRET, f"Bearer {KEY}", id="a token"),
        pytest.param({"LLM2LLM_MLFLOW_TOKEN": f"{KEY}\n"}, SECRET, f"Bearer {KEY}", id="with a newline behind it"),
        pytest.param(
            {"LLM2LLM_MLFLOW_USERNAME": "me", "LLM2LLM_MLFLOW_PASSWORD": "pass wörd"}, SECRET,
            f"Basic {base64.b64encode('me:pass wörd'.encode()).decode()}", id="a user with a password",
        ),
        pytest.param({}, SECRET, None, id="a Secret that does not exist"),
        pytest.param(KEYS, {}, None, id="a key that the spec does not name"),
    ],
)  # fmt: skip
def test_a_server_gets_the_keys_of_the_secret_that_the_run_names(
    run: TrackedRun, stub: Stub, environ: dict[str, str], more: dict[str, Any], authorization: str | None
):
    message(run, stub, environ, **more)
    assert stub.authorizations == [authorization]


def test_a_key_that_no_header_can_hold_is_not_sent_and_not_quoted(run: TrackedRun, stub: Stub):
    text = message(run, stub, {"LLM2LLM_MLFLOW_TOKEN": "two\nlines"}, **SECRET)
    assert "Secret mlflow, key MLFLOW_TRACKING_TOKEN has more than one line" in text
    assert "two" not in text
    assert stub.authorizations == []


def test_keys_do_not_follow_a_redirect(run: TrackedRun, stub: Stub):
    stub.status, stub.headers = 302, {"Location": f"{stub.address}/login?key=secret"}
    text = message(run, stub, KEYS, **SECRET)
    assert "redirects to http://127.0.0.1: set uri to the address itself" in text
    assert "secret" not in text
    assert stub.authorizations == [f"Bearer {KEY}"]


def test_a_key_that_a_server_echoes_is_masked(run: TrackedRun, stub: Stub):
    stub.status, stub.body = 400, b'{"message": "%s ECHO"}' % (b"x" * 280)
    text = message(run, stub, KEYS, **SECRET)
    assert "xxx Bearer ***" in text
    assert KEY[:6] not in text


def test_a_server_that_never_answers_is_left_alone_after_some_seconds(
    run: TrackedRun, stub: Stub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mlflow_api, "CALL_SECONDS", 0.2)
    stub.status = 0
    assert "it did not answer in time (experiments/get-by-name): check spec.tracking.mlflow.uri" in message(run, stub)


def test_all_requests_together_have_a_limit(run: TrackedRun, stub: Stub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mlflow_api, "TOTAL_SECONDS", 0.0)
    assert "it did not take everything within 0 s" in message(run, stub)
    assert stub.authorizations == []


def test_an_answer_without_end_is_not_read_to_its_end(run: TrackedRun, stub: Stub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mlflow_api, "RESPONSE_LIMIT", 1000)
    stub.body = json.dumps({"experiment": "x" * 1000}).encode()
    assert "an answer has more than 1000 bytes" in message(run, stub)


def test_a_step_that_is_told_to_stop_asks_nothing_more(run: TrackedRun, stub: Stub):
    run.stopping.set()
    assert "the step was told to stop" in message(run, stub)
    assert stub.authorizations == []


def test_an_image_of_ones_own_that_lacks_the_library_ends_its_steps_alike(
    run: TrackedRun, stub: Stub, monkeypatch: pytest.MonkeyPatch
):
    for name in ("llm2llm.report.mlflow", "llm2llm.report.mlflow_api"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    assert "httpx2" in message(run, stub)
