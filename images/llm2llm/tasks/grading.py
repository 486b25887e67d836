"""Pure: what counts as an answer, and as a right one.

A grader finds the answer in a text, in a form in which equal answers are equal strings. An output and the row's own
completion go through the same one. Letters with accents are one however they are encoded (Unicode's NFC): many
tokenizers write what they read in NFC, so that a student could answer in no other way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llm2llm.api.data import folded
from llm2llm.tasks.numbers import number_in

CORRECT = "correct"
WRONG = "wrong"
NO_ANSWER = "noAnswer"
TRUNCATED = "truncated"
"""The output reached its token limit without an end: wrong, and told apart because more tokens may mend it."""


class Grader(Protocol):
    """Finds the answer in an output or in a row's completion."""

    @property
    def failure_phrase(self) -> str:
        """What a completion without an answer is, as the end of a sentence about it."""

    def answer(self, text: str) -> str | None:
        """The answer in its normal form; None where there is none."""

    def normalize(self, completion: str) -> str:
        """A completion as it is taught."""


@dataclass(frozen=True)
class Exact:
    """The whole text, trimmed."""

    failure_phrase: str = "is empty"

    def answer(self, text: str) -> str | None:
        return _composed(text.strip()) or None

    def normalize(self, completion: str) -> str:
        return completion


@dataclass(frozen=True)
class Choice:
    """The label that the whole trimmed text is, after case and space folding; never one that it only contains."""

    labels: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """What files write for a label; no answer of a student."""
    failure_phrase: str = "is none of spec.task.labels"

    def answer(self, text: str) -> str | None:
        wanted = _composed(folded(text))
        return next((label for label in self.labels if _composed(folded(label)) == wanted), None)

    def normalize(self, completion: str) -> str:
        return self.aliases.get(completion.strip(), self.answer(completion) or completion)


@dataclass(frozen=True)
class Numeric:
    """The one number on the line behind the last marker; in the whole text, where no marker is set."""

    marker: str = ""
    failure_phrase: str = "states no number, or several"

    def answer(self, text: str) -> str | None:
        if self.marker:
            _, found, behind = text.rpartition(self.marker)
            text = behind.strip().partition("\n")[0] if found else ""
        value = number_in(text)
        return None if value is None else str(value)

    def normalize(self, completion: str) -> str:
        return completion


@dataclass(frozen=True)
class Regex:
    """What the pattern finds last: its first group where it has one, folded in case and space."""

    pattern: re.Pattern[str]
    failure_phrase: str = "does not match spec.task.grader.pattern"

    def answer(self, text: str) -> str | None:
        last = None
        for last in self.pattern.finditer(text):  # noqa: B007 - the last one is asked for
            pass
        found = last and (last[1] if self.pattern.groups else last[0])
        return _composed(folded(found)) or None if found else None

    def normalize(self, completion: str) -> str:
        return completion


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
