"""The filters, in their order, over one answer after the other.

schema, label, copy, nearDuplicate, contaminated: the first that refuses gives the reason, and the scores so far stay on
the row. A row that is kept is known from then on, so of two equal ones the first in (seed, sample) order stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm2llm.augment.decontaminate import HeldOut, held_out
from llm2llm.augment.dedup import SequenceIndex, common_words, similarity
from llm2llm.augment.parse import Draft, Unparsable, parse
from llm2llm.augment.words import field_text, normalize, rouge_words
from llm2llm.records import Example

FIELD_LIMIT = 65_536
"""Characters of a field."""
CUT = "cut at its limit of tokens: raise max_tokens in spec.generate.teacher.parameters"
_CUT = ("length", "max_tokens", "MAX_TOKENS")
"""OpenAI's word, and those that gateways to Anthropic and Gemini may pass on."""
_ALLOWED_CONTROLS = "\n\t\r"


@dataclass(frozen=True)
class Verdict:
    """What became of an answer.

    Attributes:
        reason: empty for a row that is kept, else the filter's name.
        detail: why; the teacher is told, too, in the next wave.
        note: what the user is told beside; not in what the teacher is asked, so not in the key of a request.
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
    """Everything that is known so far. Made by `build_filters`."""

    held_out: HeldOut
    threshold: float
    invalid_reason: Callable[[Mapping[str, str], str], str | None]
    choice: bool
    near: SequenceIndex
    copies: dict[str, str] = field(default_factory=dict)

    def know(self, example: Example) -> None:
        """A row that new ones must not repeat."""
        text = field_text(example.fields)
        self.copies.setdefault(normalize(text), example.id)
        self.near.add(rouge_words(text), example.id)

    def judge(self, text: str, finish: str, seed: Example) -> Verdict:
        """The verdict on one answer that was asked for because of `seed`. Does not remember it: see `know`."""
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
        self, draft: Draft, completion: str, words: Sequence[str], seed: Example, scores: dict[str, Any]
    ) -> tuple[str, str]:
        if problem := self._broken(draft, completion):
            return "schema", problem
        if self.choice and draft.completion is not None and draft.completion.casefold() != seed.completion.casefold():
            return "label", f"the label given was {seed.completion}, the answer says {draft.completion[:80]}"
        if name := self.copies.get(normalize(field_text(draft.fields))):
            return "copy", f"equals {name}"
        match = self.near.nearest(words)
        if match:  # no nearer than that is not looked for, so then there is no score to tell
            scores["rougeL"] = round(match.score, 4)
        if match and match.score > self.threshold:
            return "nearDuplicate", f"ROUGE-L {match.score:.3f} to {match.name}"
        if leak := self.held_out.leak(draft.fields):
            return "contaminated", leak
        return "", ""

    def _broken(self, draft: Draft, completion: str) -> str | None:
        for name, value in [*draft.fields.items(), ("completion", completion)]:
            if not value.strip():
                return f"{name} is empty"
            if len(value) > FIELD_LIMIT:
                return f"{name} has {len(value)} characters, more than {FIELD_LIMIT}"
            if any(ord(character) < ord(" ") and character not in _ALLOWED_CONTROLS for character in value):
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
    """Filters that know the seed set, the held-out rows and what was written in all earlier rounds.

    Args:
        threshold: ROUGE-L F1 above which a row is a near duplicate.
        ngram: words that a row may not share with a held-out one.
        invalid_reason: why a row cannot be used in the task, or None (`tasks.Task.invalid_reason`).
        choice: the label was given to the teacher.
    """
    filters = Filters(held_out(evaluation, seeds, ngram), threshold, invalid_reason, choice, SequenceIndex(threshold))
    for example in [*seeds, *synthetic]:
        filters.know(example)
    return filters


def _nearness_to_seed(words: Sequence[str], seed: Sequence[str]) -> dict[str, Any]:
    """How much of its own seed a row repeats; a row within one word of it teaches little."""
    return {
        "rougeLToSeed": round(similarity(words, seed), 4),
        "withinOneWordOfSeed": common_words(words, seed) >= max(len(words), len(seed)) - 1,
    }
