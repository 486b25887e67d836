"""Parses the teacher's text into a row, and tolerates everything that does not change its meaning.

An endpoint without JSON schema output wraps its object in prose, in a code fence, in a list or in another object. The
parser never guesses: it refuses a row with a missing field or with a value that is not text. The thoughts of a
reasoning model before its answer are full of drafts, in marks that each family of models invents anew, so the last
object that is a row counts. What models write as JSON is repaired first (jsonrepair.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llm2llm.augment.jsonrepair import repaired
from llm2llm.augment.prompt import COMPLETION

ANSWER_LIMIT = 200_000
"""Maximum characters of an answer that are parsed."""
OBJECT_LIMIT = 200
"""Maximum opening braces that are tried from the beginning, and as many from the end, so that many of them do not take
quadratic time.
"""
_THOUGHT = re.compile(r"<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)
_BETWEEN_ITEMS = re.compile(r"\s*,\s*")
_DECODER = json.JSONDecoder(strict=False)
"""Takes a line break within a text, which models write although JSON wants it escaped."""


@dataclass(frozen=True)
class DraftRow:
    """The row that the teacher wrote, before the filters; `completion` is None if it gave none."""

    fields: dict[str, str]
    completion: str | None


class Unparsable(ValueError):
    """The answer contains no row; the message says why."""


def parse(text: str, names: Sequence[str], *, choice: bool) -> DraftRow:
    """Parses the row in an answer.

    Args:
        text: the teacher's answer.
        names: the fields of the task.
        choice: whether the label was given to the teacher, which then need not repeat it.

    Raises:
        Unparsable: there is no row.
    """
    if not text.strip():
        raise Unparsable("the answer is empty")
    wanted = [*names] if choice else [*names, COMPLETION]
    problem, row = "there is no JSON object in it", None
    for candidates in _objects(repaired(_without_thoughts(text)[-ANSWER_LIMIT:])):
        for candidate in candidates:
            missing = [name for name in wanted if not isinstance(candidate.get(name), str | int | float)]
            if not missing:
                row = candidate
                break
            problem = f"{', '.join(missing)} is missing or no text"
    if row is None:
        raise Unparsable(problem)
    if _has_lone_surrogate(row):
        raise Unparsable("it has half a character (a lone surrogate)")
    return _draft(row, names)


def _without_thoughts(text: str) -> str:
    """Returns the text after a reasoning model's thoughts.

    Chat templates may open the thoughts, so only their end tag has to be in the text.

    Raises:
        Unparsable: the thoughts do not end.
    """
    tags = list(_THOUGHT.finditer(text))
    if not tags or _is_object(text):  # a whole object is a row, even if its text has such tags
        return text
    end = max((tag.end() for tag in tags if tag[1]), default=0)
    begins = next((tag.start() for tag in tags if not tag[1] and tag.start() >= end), None)
    if begins is not None and "{" not in text[end:begins]:
        raise Unparsable("its reasoning is not closed, and no answer follows")
    return text[end:]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _draft(candidate: dict[str, Any], names: Sequence[str]) -> DraftRow:
    completion = candidate.get(COMPLETION)
    return DraftRow(
        fields={name: _as_text(candidate[name]) for name in names},
        completion=_as_text(completion) if isinstance(completion, str | int | float) else None,
    )


def _has_lone_surrogate(candidate: dict[str, Any]) -> bool:
    """Returns whether a text has a lone half of a UTF-16 pair, which JSON can escape and no file can hold."""
    return any("\ud800" <= character <= "\udfff" for character in json.dumps(candidate, ensure_ascii=False))


def _as_text(value: str | float) -> str:
    """Returns a value as text, a number as JSON writes it: a teacher that answers 42 means "42"."""
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _objects(text: str) -> Iterator[list[dict[str, Any]]]:
    """Yields the JSON objects of each place in a text, outer ones first; the items of one list are in one place."""
    braces = [place.start() for place in re.finditer(r"\{", text)]
    if len(braces) > 2 * OBJECT_LIMIT:
        braces = [*braces[:OBJECT_LIMIT], *braces[-OBJECT_LIMIT:]]
    found: list[dict[str, Any]] = []
    end = -1
    for place in braces:
        if place < end:
            continue  # within the object before
        try:
            value, after = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if found and not _BETWEEN_ITEMS.fullmatch(text, end, place):
            yield found
            found = []
        found += _nested(value)
        end = after
    if found:
        yield found


def _nested(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields an object, then the objects in it and in its lists, one level down: {"examples": [{...}]}."""
    yield value
    for inner in value.values():
        if isinstance(inner, dict):
            yield inner
        elif isinstance(inner, list):
            yield from (item for item in inner if isinstance(item, dict))
