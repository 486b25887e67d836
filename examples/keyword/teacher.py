"""The teacher of the keyword example: an HTTP server that speaks the OpenAI chat API and knows the lexicon.

    python examples/keyword/teacher.py [--port P] [--api-key KEY] [--state-file F] [--latency SECONDS]

It prints {"port": P, "baseUrl": ...} as its first line. It reads the prompt that it was sent: the sentence that the
student got wrong and the right label, and writes a new sentence of that class, never one of the evaluation set. The
same request gets the same answer, always.

    POST /v1/chat/completions   the chat API; a JSON schema in response_format is honored
    GET  /stats                 requests, answers, distinct and repeated bodies, statuses, tokens
    POST /faults                {"kind": "429", "retryAfter": 1, "count": 3}: the next `count` requests fail like that

Kinds of faults: 401, 403, 429, quota, 500, 504, hang, cut, bad-json, off-schema, prose, empty, duplicates,
wrong-label, leak (an evaluation row), content-filter, unsupported-parameter (with `parameter`), half-body (a 200
that breaks off), page (a 200 with HTML), cut-short (finish_reason length), parts (the content as a list of parts),
odd-usage (a fraction of a token). `count` -1 lasts until {"kind": "none"}. {"kind": "set-key", "key": K} and
{"kind": "revoke-key"} change the key that it accepts; {"kind": "profile", "profile": P} makes it refuse what the
endpoint P of profiles.py refuses, beside any fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import re
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from profiles import refusal_of
from task import CLASS_OF_KEYWORD, LABELS, Sentence, draw, evaluation_set

WRONG_EXAMPLE = re.compile(r"^(?:The small model got this one wrong|Write one like this):\n(\{.*\})$", re.MULTILINE)
RIGHT_ANSWER = re.compile(r'^Right answer: (".*")$', re.MULTILINE)
HELD_OUT = {sentence.words for sentence in evaluation_set()}
REVOKED = "\0revoked"


@dataclass
class State:
    """What the server counts and how it misbehaves; the counters survive a restart where there is a state file."""

    key: str
    latency: float
    file: Path | None
    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    fault: dict[str, Any] = field(default_factory=dict)
    profile: str = ""

    def load(self) -> None:
        if self.file and self.file.exists():
            saved = json.loads(self.file.read_text())
            self.key = saved["key"]
            for name in ("requests", "statuses", "answered", "tokens"):
                setattr(self, name, Counter(saved[name]))

    def save(self) -> None:
        if self.file:
            document = {
                "key": self.key,
                "requests": self.requests,
                "statuses": self.statuses,
                "answered": self.answered,
                "tokens": self.tokens,
            }
            beside = self.file.with_suffix(".part")
            beside.write_text(json.dumps(document))
            beside.replace(self.file)

    def next_fault(self) -> dict[str, Any]:
        """The fault of this request; it has been used up once by the call."""
        fault = self.fault
        count = fault.get("count", 1)
        if not fault or count == 0:
            return {}
        if count > 0:
            self.fault = fault | {"count": count - 1}
        return fault


@dataclass(frozen=True)
class Question:
    """What a prompt asks for: a sentence of `label` (None: any word will do), as an object with `keys`."""

    label: int | None
    keys: tuple[str, ...]
    structured: bool


class Unreadable(ValueError):
    """The prompt contradicts itself: the label is not that of the sentence."""


def read_question(body: dict[str, Any]) -> Question:
    """What the request wants.

    Raises:
        Unreadable: it shows an example that is not of this task, or not of the class that it says.
    """
    text = "\n".join(str(message.get("content", "")) for message in body.get("messages", []))
    examples, answers = WRONG_EXAMPLE.findall(text), RIGHT_ANSWER.findall(text)
    response_format = body.get("response_format") or {}
    schema = response_format.get("json_schema", {}).get("schema", {})
    keys, structured = tuple(schema.get("properties", {"prompt": {}})), bool(schema)
    if not examples:  # a question of another kind: "are you there?"
        return Question(None, keys, structured)
    words = " ".join(str(value) for value in json.loads(examples[-1]).values()).split()
    classes = {CLASS_OF_KEYWORD[word] for word in words if word in CLASS_OF_KEYWORD}
    if answers and json.loads(answers[-1]) in LABELS:
        label = LABELS.index(json.loads(answers[-1]))
        if classes != {label}:
            raise Unreadable(f"the example {words} is not of class {LABELS[label]}")
    elif len(classes) == 1:
        label = classes.pop()
    else:
        raise Unreadable(f"the example {words} has no keyword")
    return Question(label, keys, structured)


def new_sentence(label: int, rng: random.Random, fault: str) -> Sentence:
    """A sentence of this class, not one of the evaluation set unless the fault wants that."""
    if fault == "leak":
        return rng.choice([held for held in evaluation_set() if held.label == label])
    if fault == "duplicates":
        rng = random.Random(0)
    while (sentence := draw(label, rng)).words in HELD_OUT:
        pass
    return sentence


def write_answer(question: Question, rng: random.Random, fault: str) -> str:
    """The text of the answer, as the fault wants it."""
    if question.label is None:
        row = dict.fromkeys(question.keys, "yes")
    else:
        row = dict.fromkeys(question.keys, new_sentence(question.label, rng, fault).text)
        if "completion" in question.keys or fault == "wrong-label":
            shift = 1 if fault == "wrong-label" else 0
            row["completion"] = LABELS[(question.label + shift) % len(LABELS)]
    text = json.dumps({"sentence": [*row.values()]} if fault == "off-schema" else row)
    if fault in ("bad-json", "cut-short"):
        return text[: len(text) // 2]
    if fault == "empty":
        return ""
    if fault == "prose" or not question.structured:
        return f"Certainly! Here is a new example:\n\n```json\n{text}\n```\nI hope that this helps."
    return text


STATE: web.AppKey[State] = web.AppKey("state", State)


async def chat(request: web.Request) -> web.StreamResponse:
    """One chat completion, or the failure that was asked for."""
    state = request.app[STATE]
    raw = await request.read()
    digest = hashlib.sha256(raw).hexdigest()
    state.requests[digest] += 1
    response = await _answer(state, request, raw, digest)
    state.statuses[str(response.status)] += 1
    state.save()
    return response


async def _answer(state: State, request: web.Request, raw: bytes, digest: str) -> web.Response:
    if state.key and request.headers.get("Authorization") != f"Bearer {state.key}":
        return _error(401, "Incorrect API key provided", "invalid_api_key")
    try:
        body = json.loads(raw)
    except ValueError as error:
        return _error(400, f"not JSON: {error}", "invalid_json")
    fault = state.next_fault()
    kind = str(fault.get("kind", ""))
    if kind == "page":
        return web.Response(text="<html>Please log in</html>", content_type="text/html")
    if kind in ("hang", "cut"):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), float(fault.get("seconds", 3600 if kind == "hang" else 0)))
        if request.transport:
            request.transport.close()
        return _error(500, "cut", "cut")
    if refused := _refusal(kind, fault, body):
        return refused
    if state.profile and (other := refusal_of(state.profile, body)):
        return web.json_response(other[1], status=other[0])
    if state.latency:
        await asyncio.sleep(state.latency)
    try:
        question = read_question(body)
    except (Unreadable, ValueError) as error:
        return _error(400, str(error), "unreadable_prompt")
    # The drawn sentence depends on the content alone: a repeated request gets the answer that it got before.
    rng = random.Random(json.dumps(body.get("messages"), sort_keys=True))
    text = write_answer(question, rng, kind)
    state.answered[digest] += 1
    finish = {"content-filter": "content_filter", "cut-short": "length"}.get(kind, "stop")
    document = _completion(state, body, text, finish, digest)
    return _in_form(document, text, kind)


def _in_form(document: dict[str, Any], text: str, kind: str) -> web.Response:
    """The completion, in a form that the API does not promise where the fault wants that."""
    match kind:
        case "half-body":
            return web.Response(text=json.dumps(document)[: len(text)], content_type="application/json")
        case "parts":
            half = len(text) // 2
            parts = [{"type": "text", "text": part} for part in (text[:half], text[half:])]
            document["choices"][0]["message"]["content"] = parts
        case "odd-usage":
            document["usage"]["prompt_tokens"] += 0.5
    return web.json_response(document)


def _refusal(kind: str, fault: dict[str, Any], body: dict[str, Any]) -> web.Response | None:
    parameter = str(fault.get("parameter", "temperature"))
    refusals: dict[str, Callable[[], web.Response | None]] = {
        "401": lambda: _error(401, "Incorrect API key provided", "invalid_api_key"),
        "403": lambda: _error(403, "You are not allowed to use this model", "forbidden"),
        "429": lambda: _error(
            429, "Rate limit reached", fault.get("code", "rate_limit_exceeded"), {"Retry-After": _seconds(fault)}
        ),
        "quota": lambda: _error(429, "You exceeded your current quota", "insufficient_quota"),
        "500": lambda: _error(500, "The server had an error", "server_error"),
        "504": lambda: _error(504, "The upstream server did not answer in time", "gateway_timeout"),
        "unsupported-parameter": lambda: (
            _error(400, f"Unsupported parameter: '{parameter}'", "unsupported_parameter", parameter=parameter)
            if parameter in body
            else None
        ),
    }
    return refusals[kind]() if kind in refusals else None


def _seconds(fault: dict[str, Any]) -> str:
    return str(fault.get("retryAfter", 1))


def _completion(state: State, body: dict[str, Any], text: str, finish: str, digest: str) -> dict[str, Any]:
    asked = sum(len(str(message.get("content", "")).split()) for message in body["messages"])
    written = len(text.split())
    state.tokens.update({"input": asked, "output": written})
    return {
        "id": f"chatcmpl-{digest[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model", ""),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "" if finish == "content_filter" else text},
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written},
    }


def _error(
    status: int, message: str, code: str, headers: dict[str, str] | None = None, *, parameter: str | None = None
) -> web.Response:
    document = {"error": {"message": message, "type": "invalid_request_error", "param": parameter, "code": code}}
    return web.json_response(document, status=status, headers=headers)


async def stats(request: web.Request) -> web.Response:
    """What was asked and answered so far; `repeated` are answers that were paid for more than once."""
    state = request.app[STATE]
    return web.json_response(
        {
            "requests": state.requests.total(),
            "distinct": len(state.requests),
            "answered": state.answered.total(),
            "answeredDistinct": len(state.answered),
            "repeated": state.answered.total() - len(state.answered),
            "statuses": dict(state.statuses),
            "inputTokens": state.tokens["input"],
            "outputTokens": state.tokens["output"],
        }
    )


async def faults(request: web.Request) -> web.Response:
    """Chooses how the next requests fail."""
    state = request.app[STATE]
    fault = await request.json()
    match fault.get("kind"):
        case "set-key":
            state.key = fault["key"]
        case "revoke-key":
            state.key = REVOKED
        case "profile":
            state.profile = fault["profile"]
        case "none":
            state.fault = {}
        case _:
            state.fault = fault
    state.save()
    return web.json_response({"fault": state.fault})


async def serve(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM or SIGINT."""
    state = State(arguments.api_key, arguments.latency, arguments.state_file)
    state.load()
    app = web.Application()
    app[STATE] = state
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat),
            web.get("/stats", stats),
            web.post("/faults", faults),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, arguments.host, arguments.port).start()
    port = runner.addresses[0][1]
    print(json.dumps({"port": port, "baseUrl": f"http://{arguments.host}:{port}/v1"}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await runner.cleanup()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The teacher of the keyword example.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        help="port to listen on; 0 picks a free one, which the first line of output reports",
    )
    parser.add_argument("--api-key", default="", help="API key that clients must send (default: none)")
    parser.add_argument("--state-file", type=Path, help="file that keeps the counters across restarts")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes")
    asyncio.run(serve(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
