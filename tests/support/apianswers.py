"""A server that gives the answers of an API server that a test has it give."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


class Server(ThreadingHTTPServer):
    """Answers with what `answers` has for the method and the end of the path: a status, and a body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.sent: list[Any] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status, body = next(
            (answer for (method, end), answer in self.server.answers.items() if (method, end) == (self.command, path[-len(end) :])),
            (404, b"404 page not found"),
        )  # fmt: skip
        if length := self.headers["Content-Length"]:
            self.server.sent.append(json.loads(self.rfile.read(int(length))))
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        if not path.endswith("/cut/log"):
            self.wfile.write(b"0\r\n\r\n")

    do_PATCH = do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names


@contextmanager
def answering(kubeconfig: Path) -> Iterator[Server]:
    """Gives a running server, and writes a kubeconfig for it, whose namespace is `ml`."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        host, port = server.server_address[:2]
        document = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://{host!s}:{port}"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ml"}}],
            "current-context": "x",
        }
        kubeconfig.write_text(yaml.safe_dump(document))
        yield server
        server.shutdown()
        thread.join()


def refusal(message: str) -> bytes:
    """A refusal of the API server, in its words."""
    return json.dumps({"kind": "Status", "message": message}).encode()
