"""The way to a teacher outside the cluster: through the proxy that the environment names, with headers of one's own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.generation import rounds
from tests.support.tls import TlsFront, copy

from llm2llm.api.generate import Generate
from llm2llm.records import to_jsonl
from llm2llm.step import run_step
from llm2llm.storage import Store
from llm2llm.teacher.probe import probe

HOST = "teacher.internal"
"""No name server knows it: only the proxy can reach it."""


class ForwardProxy(ThreadingHTTPServer):
    """Takes requests for `HOST`, and tunnels to it; one port of this machine is behind that name."""

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = behind
        self.seen: list[tuple[str, str, str]] = []
        """Method, target and the header x-team of each request."""
        self.bodies: list[bytes] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: ForwardProxy

    def do_POST(self) -> None:
        self._note()
        target = self.path.replace(f"http://{HOST}", f"http://127.0.0.1:{self.server.behind}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(target, body, headers), timeout=10) as answer:
            content = answer.read()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_CONNECT(self) -> None:
        self._note()
        with socket.create_connection(("127.0.0.1", self.server.behind)) as backend:
            self.send_response(200)
            self.end_headers()
            threading.Thread(target=copy, args=(backend, self.connection), daemon=True).start()
            copy(self.connection, backend)
        self.close_connection = True

    def _note(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers.get("x-team", "")))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def proxy_to(behind: int) -> Iterator[ForwardProxy]:
    with ForwardProxy(behind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def generate_at(url: str) -> Generate:
    teacher = {"model": "keyword-teacher", "baseUrl": url, "extraHeaders": {"x-team": "search"}}
    return Generate.model_validate({"teacher": teacher})


@pytest.fixture
def teacher() -> Iterator[rounds.Teacher]:
    with rounds.Teacher() as server:
        yield server


def test_a_teacher_is_asked_through_the_proxy_of_the_environment_with_headers_of_ones_own(
    teacher: rounds.Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy_to(teacher.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        probe(generate_at(f"http://{HOST}/v1"), {"LLM2LLM_TEACHER_API_KEY": rounds.KEY})
    assert teacher.stats()["requests"] == 1
    assert proxy.seen == [("POST", f"http://{HOST}/v1/chat/completions", "search")]


def test_a_proxy_tunnels_to_a_teacher_whose_certificate_the_bundle_knows(
    teacher: rounds.Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TlsFront(tmp_path, teacher.port, HOST) as front, proxy_to(front.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        environ = {"LLM2LLM_TEACHER_API_KEY": rounds.KEY, "LLM2LLM_TEACHER_CA_BUNDLE": str(front.authority)}
        probe(generate_at(f"https://{HOST}/v1"), environ)
    assert teacher.stats()["requests"] == 1
    assert proxy.seen == [("CONNECT", f"{HOST}:443", "")]  # what it carries is not for the proxy to see


@pytest.mark.parametrize("trusting", [False, True])
def test_a_teacher_on_this_machine_is_asked_past_the_proxy(
    teacher: rounds.Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: bool
) -> None:
    environ = {"LLM2LLM_TEACHER_API_KEY": rounds.KEY}
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with TlsFront(tmp_path, teacher.port) as front:
        url = f"https://127.0.0.1:{front.port}/v1" if trusting else teacher.base_url
        environ |= {"LLM2LLM_TEACHER_CA_BUNDLE": str(front.authority)} if trusting else {}
        probe(generate_at(url), environ)
    assert teacher.stats()["requests"] == 1


IN_A_SPEC = "$(HOME) $$(HOME) $$ ${HOME} {{ prompt }} {% raw %} {% 'once' \"twice\" \\"
IN_A_ROW = f"{IN_A_SPEC} \x1b[2J a\r\nb\u2028c {'x' * 100_000}"


def test_faults_48_and_52_what_a_spec_and_a_row_say_reaches_the_teacher_byte_for_byte_as_in_the_local_runner(
    teacher: rounds.Teacher, tmp_path: Path, bucket: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = rounds.seed_rows()
    first = first.model_copy(update={"fields": {"prompt": f"{first.fields['prompt']} {IN_A_ROW}"}})
    frozen = {"seed.jsonl": to_jsonl([first, *others])}
    spec = rounds.spec_for("http://nobody/v1", samples=1)
    spec["generate"]["teacher"]["baseUrl"] = f"http://{HOST}/v1"
    spec["generate"]["instructions"] = IN_A_SPEC
    with proxy_to(teacher.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # there lies the bucket
        _, step = rounds.prepared(bucket, spec, 1, frozen)
        assert rounds.worker(bucket, step, "pod-a", tmp_path, {**os.environ, **s3.environment}).wait(60) == 0
        local, step = rounds.prepared(tmp_path, spec, 1, frozen)
        run_step(step, local, rounds.context_for("pod-b", tmp_path))
    stats = teacher.stats()
    asked = json.loads(proxy.bodies[0])["messages"][-1]["content"]

    assert (stats["answered"], stats["distinct"]) == (2, 1)  # one and the same request, twice
    assert f"The task: {IN_A_SPEC}\n" in asked
    assert json.loads(asked.partition("got this one wrong:\n")[2].split("\n")[0]) == first.fields
    assert rounds.output(bucket, "synthetic.jsonl") == rounds.output(local, "synthetic.jsonl")
