"""PURE: finds the answer in a text, and decides which answers are equal.

A grader returns the answer in a form in which equal answers are equal strings. An output and the row's own completion
go through the same grader. Letters with accents are equal however they are encoded (Unicode's NFC): many tokenizers
normalize text to NFC, so a student could not answer in any other form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llm2llm.api.data import folded
from llm2llm.tasks.numbers import number_in
from llm2llm.tasks.timelimit import TimeLimitExceeded, limit_cpu_time

CORRECT = "correct"
WRONG = "wrong"
NO_ANSWER = "noAnswer"
TRUNCATED = "truncated"
"""The output reached its token limit without an end: wrong, but a separate verdict because more tokens may fix it."""
TIMED_OUT = "timedOut"
"""The pattern took too long on the output (TooSlow): wrong, but a separate verdict because another one may not."""
SECONDS = 1.0
"""Maximum CPU time of a pattern on one text; patterns that do not backtrack need microseconds."""


class TooSlow(Exception):
    """The pattern of the task needs more than SECONDS on a text: it backtracks, as `^(a+)+$` does."""


class Grader(Protocol):
    """Finds the answer in an output or in a row's completion."""

    @property
    def failure_phrase(self) -> str:
        """Says why a completion has no answer, as the end of a sentence about it."""

    def answer(self, text: str) -> str | None:
        """Returns the answer in its normal form, or None if there is none. Raises TooSlow."""

    def normalize(self, completion: str) -> str:
        """Returns a completion as it is taught."""


@dataclass(frozen=True)
class Exact:
    """Takes the whole trimmed text as the answer."""

    failure_phrase: str = "is empty"

    def answer(self, text: str) -> str | None:
        return unicodedata.normalize("NFC", text.strip()) or None

    def normalize(self, completion: str) -> str:
        return completion


@dataclass(frozen=True)
class Choice:
    """Takes the label that equals the whole trimmed text, case and space folded; never one that it only contains."""

    labels: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """What data files write for a label; not accepted as an answer of a student."""
    failure_phrase: str = "is none of spec.task.labels"

    def answer(self, text: str) -> str | None:
        wanted = folded(text)
        return next((label for label in self.labels if folded(label) == wanted), None)

    def normalize(self, completion: str) -> str:
        return self.aliases.get(completion.strip(), self.answer(completion) or completion)


@dataclass(frozen=True)
class Numeric:
    """Takes the one number on the line after the last marker, or in the whole text if no marker is set."""

    marker: str = ""
    failure_phrase: str = "states no number, or several"

    def answer(self, text: str) -> str | None:
        if self.marker:
            _, marker_found, after = text.rpartition(self.marker)
            text = after.strip().partition("\n")[0] if marker_found else ""
        value = number_in(text)
        return None if value is None else str(value)

    def normalize(self, completion: str) -> str:
        return completion


@dataclass(frozen=True)
class Regex:
    """Takes the last match of the pattern, or its first group if it has one, folded in case and space."""

    pattern: re.Pattern[str]
    failure_phrase: str = "does not match spec.task.grader.pattern"

    def answer(self, text: str) -> str | None:
        last = None
        try:
            with limit_cpu_time(SECONDS):
                for last in self.pattern.finditer(text):  # noqa: B007 - only the last match is needed
                    pass
        except TimeLimitExceeded:
            raise TooSlow from None
        matched = last and (last[1] if self.pattern.groups else last[0])
        return folded(matched) or None if matched else None

    def normalize(self, completion: str) -> str:
        return completion
