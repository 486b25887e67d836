"""Applies the filters in their order to one answer after the other.

The order is schema, label, copy, nearDuplicate, contaminated: the first filter that refuses gives the reason, and the
row keeps the scores so far. A kept row is known from then on, so of two equal rows the first in (seed, sample) order is
kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm2llm.api.data import folded
from llm2llm.augment.decontaminate import HeldOut, held_out
from llm2llm.augment.dedup import SequenceIndex, common_words, similarity
from llm2llm.augment.parse import DraftRow, Unparsable, parse
from llm2llm.augment.words import field_text, normalize, rouge_words
from llm2llm.records import Example

FIELD_LIMIT = 65_536
"""Maximum characters of a field."""
CUT = "cut at its limit of tokens: raise max_tokens in spec.generate.teacher.parameters"
_CUT = ("length", "max_tokens", "MAX_TOKENS")
"""OpenAI's word, and those that gateways to Anthropic and Gemini may pass on."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|\r(?!\n)")
"""Control characters except tabs and line breaks; a lone carriage return is what became of a TeX command like \\rho."""


@dataclass(frozen=True)
class Verdict:
    """The result of filtering an answer.

    Attributes:
        reason: the name of the filter that refused the row; empty for a kept row.
        detail: why; the next wave's prompt shows it to the teacher, too.
        note: additional text for the user only; it is not in the prompt, so not in a request's key.
    """

    fields: dict[str, str] | None
    completion: str
    reason: str = ""
    detail: str = ""
    note: str = ""
    scores: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        return not self.reason


@dataclass
class Filters:
    """The filters with all rows known so far. `build_filters` creates them."""

    held_out: HeldOut
    threshold: float
    invalid_reason: Callable[[Mapping[str, str], str], str | None]
    choice: bool
    near: SequenceIndex
    copies: dict[str, str] = field(default_factory=dict)

    def know(self, example: Example) -> None:
        """Adds a row that new rows must not repeat."""
        text = field_text(example.fields)
        self.copies.setdefault(normalize(text), example.id)
        self.near.add(rouge_words(text), example.id)

    def judge(self, text: str, finish: str, seed: Example) -> Verdict:
        """Returns the verdict on one answer that was requested for `seed`. Does not remember the row: see `know`."""
        if finish == "content_filter":
            return Verdict(None, "", "contentFilter", "the endpoint's content filter refused it", text[:200])
        if finish == "context_length":
            return Verdict(None, "", "contextLength", f"the request is too long for the teacher: {text[:200]}")
        if finish == "refused":
            return Verdict(None, "", "refused", f"the endpoint refused the request: {text[:200]}")
        try:
            draft = parse(text, sorted(seed.fields), choice=self.choice)
        except Unparsable as error:
            return Verdict(None, "", "schema", str(error), CUT if finish in _CUT else "")
        completion = seed.completion if self.choice else draft.completion or ""
        words = rouge_words(field_text(draft.fields))
        scores = _nearness_to_seed(words, rouge_words(field_text(seed.fields)))
        reason, detail = self._refusal(draft, completion, words, seed, scores)
        return Verdict(draft.fields, completion, reason, detail, scores=scores)

    def _refusal(
        self, draft: DraftRow, completion: str, words: Sequence[str], seed: Example, scores: dict[str, Any]
    ) -> tuple[str, str]:
        if problem := self._schema_problem(draft, completion):
            return "schema", problem
        if self.choice and draft.completion is not None and folded(draft.completion) != folded(seed.completion):
            return "label", f"the label given was {seed.completion}, the answer says {draft.completion[:80]}"
        if name := self.copies.get(normalize(field_text(draft.fields))):
            return "copy", f"equals {name}"
        match = self.near.nearest(words)
        if match:  # the index searches only down to the threshold, so without a match there is no score
            scores["rougeL"] = round(match.score, 4)
        if match and match.score > self.threshold:
            return "nearDuplicate", f"ROUGE-L {match.score:.3f} to {match.name}"
        if leak := self.held_out.leak(draft.fields):
            return "contaminated", leak
        return "", ""

    def _schema_problem(self, draft: DraftRow, completion: str) -> str | None:
        for name, value in [*draft.fields.items(), ("completion", completion)]:
            if not value.strip():
                return f"{name} is empty"
            if len(value) > FIELD_LIMIT:
                return f"{name} has {len(value)} characters, more than {FIELD_LIMIT}"
            if _CONTROL.search(value):
                return f"{name} has control characters"
        return self.invalid_reason(draft.fields, completion)


def build_filters(
    *,
    seeds: Sequence[Example],
    evaluation: Sequence[Example],
    synthetic: Iterable[Example],
    threshold: float,
    ngram: int,
    invalid_reason: Callable[[Mapping[str, str], str], str | None],
    choice: bool,
) -> Filters:
    """Builds filters that know the seed set, the held-out rows and the rows of all earlier rounds.

    Args:
        threshold: ROUGE-L F1 above which a row is a near duplicate.
        ngram: number of consecutive words that a row may not share with a held-out one.
        invalid_reason: returns why a row cannot be used in the task, or None (`tasks.Task.invalid_reason`).
        choice: whether the label was given to the teacher.
    """
    filters = Filters(held_out(evaluation, seeds, ngram), threshold, invalid_reason, choice, SequenceIndex(threshold))
    for example in [*seeds, *synthetic]:
        filters.know(example)
    return filters


def _nearness_to_seed(words: Sequence[str], seed: Sequence[str]) -> dict[str, Any]:
    """Returns scores for how much of its own seed a row repeats; a row within one word of it teaches little."""
    return {
        "rougeLToSeed": round(similarity(words, seed), 4),
        "withinOneWordOfSeed": common_words(words, seed) >= max(len(words), len(seed)) - 1,
    }
