"""From the teacher's text to a row; tolerant of everything that does not change its meaning.

An endpoint without JSON schema output wraps its object in prose, in a code fence, in a list or in one more object. What
is read is never guessed at: a missing field, or a value that is no text, refuses the row. What a reasoning model thinks
before it answers is full of drafts, and no part of the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llm2llm.augment.prompt import COMPLETION

ANSWER_LIMIT = 200_000
"""Characters of an answer that are looked at."""
OBJECT_LIMIT = 200
"""Opening braces that are tried; a wall of them costs no quadratic time."""
_THOUGHT = re.compile(r"<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Draft:
    """What the teacher wrote, before the filters; `completion` is None where it gave none."""

    fields: dict[str, str]
    completion: str | None


class Unparsable(ValueError):
    """The answer holds no row; the message says why."""


def parse(text: str, names: Sequence[str], *, choice: bool) -> Draft:
    """The row in an answer.

    Args:
        text: the teacher's answer.
        names: the fields of the task.
        choice: the label was given to the teacher, so it need not repeat it.

    Raises:
        Unparsable: there is none.
    """
    if not text.strip():
        raise Unparsable("the answer is empty")
    wanted = [*names] if choice else [*names, COMPLETION]
    problem = "there is no JSON object in it"
    for candidate in _objects(_answer(text)[:ANSWER_LIMIT]):
        missing = [name for name in wanted if not isinstance(candidate.get(name), str | int | float)]
        if not missing and _half_characters(candidate):
            raise Unparsable("it has half a character (a lone surrogate)")
        if not missing:
            return _draft(candidate, names)
        problem = f"{', '.join(missing)} is missing or no text"
    raise Unparsable(problem)


def _answer(text: str) -> str:
    """What follows the thoughts of a reasoning model; templates may begin them, so only their end need be there.

    Raises:
        Unparsable: they do not end.
    """
    tags = list(_THOUGHT.finditer(text))
    if not tags or _is_object(text):  # else a row that speaks of such tags
        return text
    end = max((tag.end() for tag in tags if tag[1]), default=0)
    begins = next((tag.start() for tag in tags if not tag[1] and tag.start() >= end), None)
    if begins is not None and "{" not in text[end:begins]:
        raise Unparsable("its thoughts do not end, and no answer follows")
    return text[end:]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _draft(candidate: dict[str, Any], names: Sequence[str]) -> Draft:
    completion = candidate.get(COMPLETION)
    return Draft(
        fields={name: _as_text(candidate[name]) for name in names},
        completion=_as_text(completion) if isinstance(completion, str | int | float) else None,
    )


def _half_characters(candidate: dict[str, Any]) -> bool:
    """JSON can escape half of a UTF-16 pair, which no file can hold."""
    return any("\ud800" <= character <= "\udfff" for character in json.dumps(candidate, ensure_ascii=False))


def _as_text(value: str | float) -> str:
    """Numbers as JSON writes them: a teacher that answers 42 means "42"."""
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object in a text, from the outside in."""
    place, tried = text.find("{"), 0
    while place >= 0 and tried < OBJECT_LIMIT:
        tried += 1
        try:
            value, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield from _nested(value)
        place = text.find("{", end)


def _nested(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An object, then the objects that it or its lists hold, one level down: {"examples": [{...}]}."""
    yield value
    for inner in value.values():
        if isinstance(inner, dict):
            yield inner
        elif isinstance(inner, list):
            yield from (item for item in inner if isinstance(item, dict))
