"""Checks that a new row neither is nor contains a held-out row. Always on: a benchmark that was trained on is useless.

It compares the fields of the task as casefolded words. A row is refused if it equals a held-out row of any length; if
it differs in a word or so (LCS-F1 of at least 0.9) from one of 8 words or more; and if it shares any 13-gram with one
of 13 words or more, unless the 13-gram also occurs in the seed set (such a phrase belongs to the task and not to the
held-out row).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llm2llm.augment.dedup import SequenceIndex
from llm2llm.augment.words import casefolded_words, field_text, join_words
from llm2llm.records import Example

NGRAM = 13
SHORTEST_FOR_LCS = 8
LCS_THRESHOLD = 0.9


@dataclass(frozen=True)
class HeldOut:
    """An index of the held-out rows. `held_out` creates it."""

    equal: Mapping[str, str]
    near: SequenceIndex
    grams: Mapping[str, str]
    ngram: int

    def leak(self, fields: Mapping[str, str]) -> str | None:
        """Returns which held-out row this one leaks, and how; None if it is clean."""
        words = casefolded_words(field_text(fields))
        if name := self.equal.get(join_words(words)):
            return f"equals held-out row {name}"
        if match := self.near.nearest(words):
            return f"differs little from held-out row {match.name} (LCS-F1 {match.score:.3f})"
        for gram in _grams(words, self.ngram):
            if name := self.grams.get(gram):
                return f"shares {self.ngram} words in a row with held-out row {name}"
        return None


def held_out(rows: Sequence[Example], seeds: Sequence[Example], ngram: int = NGRAM) -> HeldOut:
    """Builds an index of the held-out rows.

    Args:
        rows: of the evaluation and test sets.
        seeds: the seed set, whose phrases leak nothing.
        ngram: number of consecutive words that identify a held-out row, if it has at least so many.
    """
    equal: dict[str, str] = {}
    near = SequenceIndex(LCS_THRESHOLD)
    grams: dict[str, str] = {}
    for row in rows:
        words = casefolded_words(field_text(row.fields))
        equal.setdefault(join_words(words), row.id)
        if SHORTEST_FOR_LCS <= len(words) < ngram:
            near.add(words, row.id)
        for gram in _grams(words, ngram):
            grams.setdefault(gram, row.id)
    for seed in seeds:
        for gram in _grams(casefolded_words(field_text(seed.fields)), ngram):
            grams.pop(gram, None)
    return HeldOut(equal, near, grams, ngram)


def _grams(words: Sequence[str], size: int) -> Iterator[str]:
    return (join_words(words[start : start + size]) for start in range(len(words) - size + 1))
