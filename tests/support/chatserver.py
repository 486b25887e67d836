"""An OpenAI-compatible endpoint in a thread of this process, for tests that say themselves what it answers.

The example's teacher as a process, which counts and misbehaves on request, is tests/support/teacher.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = Callable[[Mapping[str, Any]], tuple[int, Any]]
"""Of a request's body: the status with the text of the message, or with the whole body as a dict."""


class ChatServer:
    """Serves chat completions on 127.0.0.1.

    Attributes:
        answer: what it replies; called in a thread for each request.
        key: the API key that it accepts; None for any.
        requests: the bodies that it was sent with that key.
        base_url: its address.
    """

    def __init__(self, answer: Answer, *, key: str | None = None, port: int = 0) -> None:
        self.answer = answer
        self.key = key
        self.requests: list[Mapping[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, self))
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve_forever(self) -> None:
        """Serves in this thread until it is interrupted."""
        self._server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: ChatServer, *arguments: Any) -> None:
        self._chat = server
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Logs nothing."""

    def do_POST(self) -> None:
        status, answer = self._reply(self.rfile.read(int(self.headers["Content-Length"])))
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reply(self, content: bytes) -> tuple[int, Any]:
        if self.path != "/v1/chat/completions":
            return 404, {"detail": "Not Found"}
        if self._chat.key is not None and self.headers["Authorization"] != f"Bearer {self._chat.key}":
            return 401, {"error": {"message": "Incorrect API key provided"}}
        self._chat.requests.append(json.loads(content))
        body = json.loads(content)
        status, answer = self._chat.answer(body)
        return (status, _completion(body, answer)) if isinstance(answer, str) and status == 200 else (status, answer)


def _completion(body: Mapping[str, Any], text: str) -> dict[str, Any]:
    asked, written = sum(len(message["content"].split()) for message in body["messages"]), len(text.split())
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model", ""),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written},
    }
