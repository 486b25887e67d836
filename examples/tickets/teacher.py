"""A teacher for the tutorial: an HTTP server that speaks the OpenAI chat API and writes tickets from parts.py.

    python examples/tickets/teacher.py [--port 8000]

It is no language model. It reads the right answer in the prompt and draws a ticket of that queue, as make.py does, so
it needs no key and no network. The same request gets the same answer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from make import WEIGHTS, ticket
from parts import SITUATIONS

RIGHT_ANSWER = re.compile(r'^Right answer: (".*")$', re.MULTILINE)


def answer(request: dict[str, Any]) -> str:
    """Returns a row as JSON: of the queue that the prompt names, or of any if it names none."""
    text = "\n".join(str(message.get("content", "")) for message in request.get("messages", []))
    named = [json.loads(quoted).strip().lower() for quoted in RIGHT_ANSWER.findall(text)]
    rng = random.Random(hashlib.sha256(json.dumps(request, sort_keys=True).encode()).digest())
    queue = named[-1] if named and named[-1] in WEIGHTS else rng.choice(list(WEIGHTS))
    row = ticket(rng.choice([one for one in SITUATIONS if one.queue == queue]), rng, slips=0.12)
    row["completion"] = queue
    schema = (request.get("response_format") or {}).get("json_schema", {}).get("schema", {})
    keys = schema.get("properties") or {"subject": {}, "text": {}}
    return json.dumps({key: row.get(key, "yes") for key in keys}, ensure_ascii=False)


class Handler(BaseHTTPRequestHandler):
    """Answers one request for a chat completion."""

    def do_POST(self) -> None:
        """Sends the answer, with tokens counted as a quarter of the characters."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        content = answer(json.loads(body))
        read, written = len(body) // 4, len(content) // 4
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        reply = json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Logs nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A teacher that writes tickets.")
    parser.add_argument("--port", type=int, default=8000)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
