"""PURE: reads the teacher's text from the body of a completion, whatever is in it.

A completion that arrived is paid for, so one that cannot be read becomes an empty reply, which is rejected like any
other row. A body that is not a completion at all is no answer: a page, an error, or a truncated body, which may have
been paid for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from llm2llm.records import Usage
from llm2llm.teacher.ratelimit_headers import RateLimitHeader

CONTENT_FILTER = "content_filter"
CONTEXT_LENGTH = "context_length"
REFUSED = "refused"
EMPTY = "empty"
_THOUGHTS = ("reasoning_content", "reasoning")
"""Where vLLM, DeepSeek and OpenRouter put the thoughts of a reasoning model."""
TEXT_LIMIT = 1_000_000
"""Maximum characters of an answer that are kept."""
_FINISH_LIMIT = 100
_WORDS_LIMIT = 200


@dataclass(frozen=True)
class Reply:
    """The teacher's answer.

    `finish` is stop, length, content_filter, empty for a body without a message, context_length for a request that is
    too long, or refused for one that the endpoint rejects for a reason of its own. `text` of a refused request is the
    endpoint's message. `usage` is None if the endpoint reported none. `thoughts` says that the message has thoughts
    beside its text, and `refusal` is the model's own, of an API that keeps it apart.
    """

    text: str
    finish: str
    usage: Usage | None
    announced: Mapping[str, RateLimitHeader] = field(default_factory=dict)
    thoughts: bool = False
    refusal: str = ""


@dataclass(frozen=True)
class NoCompletion:
    """A body that is not a completion, described in `words`; `code` is its error code, despite status 200."""

    words: str
    code: str = ""


def read_reply(
    body: bytes, announced: Mapping[str, RateLimitHeader], mask: Callable[[str], str] = lambda text: text
) -> Reply | NoCompletion:
    """Reads the body of an answer with status 200.

    Args:
        body: the body.
        announced: the limits in its headers.
        mask: hides secrets in what is quoted of a body that is no completion.
    """
    try:
        completion = json.loads(body)
    except (ValueError, RecursionError):
        completion = None
    choices = _member(completion, "choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    # a gateway that has sent 200 and then loses its upstream puts the error into the choice
    if error := _member(completion, "error") or _member(choice, "error"):
        message = storable(mask(str(_member(error, "message") or error)), _WORDS_LIMIT)
        return NoCompletion(message, str(_member(error, "code") or ""))
    if _member(choice, "finish_reason") == "error":
        return NoCompletion("the choice ended with an error", "error")
    if not isinstance(choices, list):
        return NoCompletion(repr(mask(body.decode("utf-8", "replace"))[:_WORDS_LIMIT]))
    usage = _usage(_member(completion, "usage"))
    message = _member(choice, "message")
    if not isinstance(message, dict):
        return Reply("", EMPTY, usage, announced)
    finish = _member(choice, "finish_reason")
    reason = storable(finish, _FINISH_LIMIT) if isinstance(finish, str) else ""
    thoughts = any(_text(message.get(name)).strip() for name in _THOUGHTS)
    refusal = storable(_text(message.get("refusal")))
    return Reply(storable(_text(message.get("content"))), reason or "stop", usage, announced, thoughts, refusal)


def storable(text: str, limit: int = TEXT_LIMIT) -> str:
    """Cuts a text to `limit` and replaces lone surrogates, which JSON can escape and no file can hold."""
    return text[:limit].encode("utf-8", "replace").decode()


def _text(content: Any) -> str:
    """Returns the text of a message's content: a string, or a list of parts, of which those of type text are joined."""
    if isinstance(content, list):
        texts = [_member(part, "text") for part in content if _member(part, "type") == "text"]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _usage(usage: Any) -> Usage | None:
    """Returns the tokens of one request; None unless both counts are numbers."""
    counts = [_member(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    if any(isinstance(count, bool | str | None) for count in counts):
        return None
    try:
        return Usage(teacher_requests=1, teacher_input_tokens=counts[0], teacher_output_tokens=counts[1])
    except ValidationError:
        return None


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
