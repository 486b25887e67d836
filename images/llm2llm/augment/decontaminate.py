"""Whether a new row is, or contains, a held-out one. Always on: a benchmark that was trained on measures nothing.

On the fields of the task, as casefolded words. A held-out row of any length is refused as an equal sequence; from 8
words on also one that differs in a word or so (LCS-F1 of at least 0.9); from 13 on by any shared 13-gram that does not
occur in the seed set too (a phrase that the seeds have is the task's, not the held-out row's).
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
    """The held-out rows, ready to be asked about. Made by `held_out`."""

    equal: Mapping[str, str]
    near: SequenceIndex
    grams: Mapping[str, str]
    ngram: int

    def leak(self, fields: Mapping[str, str]) -> str | None:
        """Which held-out row this one gives away, and how; None where it is clean."""
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
    """An index of the held-out rows.

    Args:
        rows: of the evaluation and the test set.
        seeds: whose phrases give nothing away.
        ngram: words in a row that count as the held-out row's own, in rows of so many words or more.
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
