"""Serves one student over HTTP, for trying it out: the OpenAI API's completions, and rows by the run's own template.

The standard library's server is enough for that: one student answers one request at a time, whatever waits for it. No
web framework is in what a laptop installs, and a production server is vLLM (serving/servingmanifests.py).
"""

from __future__ import annotations

import json
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm2llm.engines import SamplingSettings
from llm2llm.errors import ConfigurationError, StepError
from llm2llm.plaintext import plain
from llm2llm.serving.predictor import Completion, Predictor, RequestRefused

MAX_BODY = 4 * 1024 * 1024
"""Maximum bytes of a request."""
_READ_SECONDS = 60.0
_SEEDS = 2**32
_ONLY_VALUES: Mapping[str, Any] = {
    "n": 1, "best_of": 1, "echo": False, "logprobs": False, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0,
    "logit_bias": {}, "tools": [], "response_format": {"type": "text"}, "suffix": "",
}  # fmt: skip
"""What would change an answer, and is not there: a request may say only that it does not want it."""


class _Asked(BaseModel):
    """What completions of both kinds have in common."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | int | None = Field(default=None, ge=0, le=2)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def draws(self) -> SamplingSettings | None:
        """How to sample; greedily where no temperature is asked for, since the student was scored so."""
        seed = secrets.randbelow(_SEEDS) if self.seed is None else self.seed
        return SamplingSettings(float(self.temperature), [seed]) if self.temperature else None

    @property
    def stops(self) -> list[str]:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [stop for stop in stops if stop]


class _Prompt(_Asked):
    prompt: str


class _Turn(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    role: str
    content: str


class _Conversation(_Asked):
    messages: list[_Turn] = Field(min_length=1)


Asked = TypeVar("Asked", bound=_Asked)


class _Problem(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class StudentServer(ThreadingHTTPServer):
    """An HTTP server that has a student once it is loaded.

    Raises:
        ConfigurationError: nothing can listen at this address.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigurationError(
                f"cannot listen at {host}:{port} ({reason}): choose another --port, or 0 for any that is free"
            ) from error
        self.student: Predictor | None = None

    @property
    def url(self) -> str:
        """Its address."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: StudentServer
    protocol_version = "HTTP/1.1"
    timeout = _READ_SECONDS

    def do_GET(self) -> None:
        routes: dict[str, Callable[[], Any]] = {
            "/health": dict,
            "/v1/models": lambda: {"object": "list", "data": [self._model()]},
            f"/v1/models/{self._student.record.run}": self._model,
        }
        self._answer(routes)

    def do_POST(self) -> None:
        self._answer(
            {
                "/predict": self._predict,
                "/v1/completions": self._complete,
                "/v1/chat/completions": self._chat,
            }
        )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's own name
        """Writes a line about a request to stderr, without its date."""
        print(plain(f"{self.address_string()} {format % args}"), file=sys.stderr)

    @property
    def _student(self) -> Predictor:
        assert self.server.student  # noqa: S101 - requests are taken once it is loaded
        return self.server.student

    def _answer(self, routes: Mapping[str, Callable[[], Any]]) -> None:
        """Answers by the route's function; what goes wrong becomes an error as the OpenAI API has it."""
        path = self.path.partition("?")[0].rstrip("/")
        try:
            document = routes.get(path, lambda: self._miss(path))()
        except _Problem as problem:
            self._refuse(problem.status, problem.message)
        except RequestRefused as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except StepError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, error.message)
        except (OSError, ConnectionError):
            self.close_connection = True
        except Exception:  # noqa: BLE001 - the top of a worker: the server goes on
            traceback.print_exc()
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "this request failed: the server's own output says why")
        else:
            if document is not None:
                self._send(HTTPStatus.OK, document)

    def _miss(self, path: str) -> None:
        known = "GET /health, /v1/models; POST /predict, /v1/completions, /v1/chat/completions"
        raise _Problem(HTTPStatus.NOT_FOUND, f"there is no {self.command} {path or '/'}; there are {known}")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        self.close_connection = True  # its body may not have been read
        self._send(status, {"error": {"message": message, "type": kind, "param": None, "code": None}})

    def _send(self, status: HTTPStatus, document: Any, kind: str = "application/json") -> None:
        data = document if isinstance(document, bytes) else (json.dumps(document, ensure_ascii=False) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Problem(HTTPStatus.LENGTH_REQUIRED, "send the body with its Content-Length")
        if int(length) > MAX_BODY:
            raise _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {MAX_BODY:,} bytes")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise _Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise _Problem(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
        return body

    def _model(self) -> dict[str, Any]:
        record = self._student.record
        return {"id": record.run, "object": "model", "created": 0, "owned_by": record.namespace}

    def _predict(self) -> dict[str, Any]:
        fields = self._body()
        if wrong := [name for name, value in fields.items() if not isinstance(value, str)]:
            raise _Problem(HTTPStatus.BAD_REQUEST, f"a row is an object of strings, but {wrong[0]!r} is none")
        prompt, answer, label = self._student.predict(fields)
        return {"answer": answer.text, "label": label, "truncated": not answer.ended, "prompt": prompt}

    def _complete(self) -> dict[str, Any] | None:
        asked = self._read(_Prompt)
        answer = self._student.complete_text(asked.prompt, asked.limit, asked.draws)
        return self._completion("text_completion", asked, answer, lambda text, _: {"text": text, "logprobs": None})

    def _chat(self) -> dict[str, Any] | None:
        asked = self._read(_Conversation)
        turns = [turn.model_dump() for turn in asked.messages]
        answer = self._student.complete_conversation(turns, asked.limit, asked.draws)

        def choice(text: str, part: str) -> dict[str, Any]:
            return {part: {"role": "assistant", "content": text}}

        return self._completion("chat.completion", asked, answer, choice)

    def _read(self, kind: type[Asked]) -> Asked:
        """Returns the request in the body, if all that it asks for is there."""
        body = self._body()
        try:
            asked = kind.model_validate(body)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise _Problem(HTTPStatus.BAD_REQUEST, f"{place}: {problem['msg']}") from error
        for name, only in _ONLY_VALUES.items():
            if body.get(name) not in (None, only):
                raise _Problem(HTTPStatus.BAD_REQUEST, f"{name} is not supported here: leave it out")
        mine = self._student.record.run
        if asked.model not in (None, mine):
            raise _Problem(HTTPStatus.NOT_FOUND, f"there is no model {asked.model!r}, only {mine!r}")
        return asked

    def _completion(
        self, name: str, asked: _Asked, answer: Completion, choice: Callable[[str, str], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Returns a completion; sends it in one piece, and returns None, if a stream was asked for."""
        text, cut = answer.text, False
        for stop in asked.stops:
            text, found, _ = text.partition(stop)
            cut = cut or bool(found)
        reason = "stop" if cut or answer.ended else "length"
        document = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": name,
            "created": int(time.time()),
            "model": self._student.record.run,
            "choices": [{"index": 0, **choice(text, "delta" if asked.stream else "message"), "finish_reason": reason}],
        }
        if not asked.stream:
            total = answer.prompt_tokens + answer.completion_tokens
            usage = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
            return document | {"usage": usage | {"total_tokens": total}}
        document["object"] = name if name == "text_completion" else f"{name}.chunk"
        self._send(HTTPStatus.OK, f"data: {json.dumps(document)}\n\ndata: [DONE]\n\n".encode(), "text/event-stream")
        return None
