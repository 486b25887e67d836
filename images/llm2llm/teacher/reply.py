"""PURE: what the teacher wrote, read from the body of a completion, whatever is in it.

A completion that came is paid for. So what cannot be read in one is an empty reply, refused row by row. A body that is
no completion at all is no answer: a page, an error, or one that broke off, which may have been paid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from llm2llm.records import Usage
from llm2llm.teacher.ratelimit_headers import RateLimitHeader

CONTENT_FILTER = "content_filter"
CONTEXT_LENGTH = "context_length"
REFUSED = "refused"
EMPTY = "empty"
TEXT_LIMIT = 1_000_000
"""Characters of an answer that are kept."""
_FINISH_LIMIT = 100
_WORDS_LIMIT = 200


@dataclass(frozen=True)
class Reply:
    """What the teacher wrote.

    `finish` is stop, length, content_filter, empty for a body without a message, context_length for a request that is
    too long, or refused for one that the endpoint does not take for a reason of its own. `text` of a request that was
    refused is the endpoint's words. `usage` is None where the endpoint told none.
    """

    text: str
    finish: str
    usage: Usage | None
    announced: Mapping[str, RateLimitHeader] = field(default_factory=dict)


@dataclass(frozen=True)
class NoCompletion:
    """What came instead, in words; `code` is the endpoint's own of an error that it tells with status 200."""

    words: str
    code: str = ""


def read_reply(body: bytes, announced: Mapping[str, RateLimitHeader]) -> Reply | NoCompletion:
    """The reply in the body of an answer with status 200."""
    try:
        completion = json.loads(body)
    except (ValueError, RecursionError):
        completion = None
    choices = _member(completion, "choices")
    if error := _member(completion, "error"):
        told = storable(str(_member(error, "message") or error), _WORDS_LIMIT)
        return NoCompletion(told, str(_member(error, "code") or ""))
    if not isinstance(choices, list):
        return NoCompletion(repr(body[:_WORDS_LIMIT].decode("utf-8", "replace")))
    usage = _usage(_member(completion, "usage"))
    choice = choices[0] if choices else None
    message = _member(choice, "message")
    if not isinstance(message, dict):
        return Reply("", EMPTY, usage, announced)
    finish = _member(choice, "finish_reason")
    told = storable(finish, _FINISH_LIMIT) if isinstance(finish, str) else ""
    return Reply(storable(_text(message.get("content"))), told or "stop", usage, announced)


def storable(text: str, limit: int = TEXT_LIMIT) -> str:
    """The beginning of a text; JSON can escape half of a UTF-16 pair, which no file can hold."""
    return text[:limit].encode("utf-8", "replace").decode()


def _text(content: Any) -> str:
    """A message's content: a text, or a list of parts of which those of type text are joined."""
    if isinstance(content, list):
        texts = [_member(part, "text") for part in content if _member(part, "type") == "text"]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _usage(told: Any) -> Usage | None:
    """One request's tokens; None where they are not two counts."""
    counts = [_member(told, name) for name in ("prompt_tokens", "completion_tokens")]
    if any(isinstance(count, bool | str | None) for count in counts):
        return None
    try:
        return Usage(teacher_requests=1, teacher_input_tokens=counts[0], teacher_output_tokens=counts[1])
    except ValidationError:
        return None


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
