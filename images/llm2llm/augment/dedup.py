"""Finds near duplicates: the row with the highest ROUGE-L F1 among thousands, at the speed of bit-parallel LCS.

The scores are exactly those of rouge_score (`use_stemmer=False`): the fast part only finds candidates, and the score is
computed by rouge_score's formula. Two things make it fast: a row is compared only with rows whose length lets them
reach the threshold at all, and each word is encoded as one character, so that rapidfuzz compares words in C++.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rapidfuzz import process
from rapidfuzz.distance import LCSseq

_FIRST_CHARACTER = 0x10000
"""Words are numbered from the first supplementary plane on: no surrogates there, and 1,048,575 words fit."""
_SLACK = 1e-9


def rouge_l(common: int, left: int, right: int) -> float:
    """Returns the F1 of a longest common subsequence of two sequences, computed as rouge_score does."""
    if not common:
        return 0.0
    precision, recall = common / left, common / right
    return 2 * precision * recall / (precision + recall)


def similarity(left: Sequence[str], right: Sequence[str]) -> float:
    """Returns the ROUGE-L F1 of two word sequences; 0 if one is empty."""
    return rouge_l(common_words(left, right), len(left), len(right))


def common_words(left: Sequence[str], right: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence."""
    return int(LCSseq.similarity(left, right))


@dataclass(frozen=True)
class Match:
    """The nearest known sequence: its score, and the name under which it was added."""

    score: float
    name: str


@dataclass
class SequenceIndex:
    """Stores word sequences by length, and finds the nearest of them.

    `nearest` searches only down to `threshold`: below it there is no match.
    """

    threshold: float
    _characters: dict[str, str] = field(default_factory=dict)
    _encoded: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    _names: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, words: Sequence[str], name: str) -> None:
        """Stores a sequence; an empty one is similar to nothing and is not stored."""
        if words:
            self._encoded[len(words)].append(self._encode(words))
            self._names[len(words)].append(name)

    def nearest(self, words: Sequence[str]) -> Match | None:
        """Returns the sequence with the highest F1 from `threshold` on; of equal ones the shortest, then the oldest."""
        best: Match | None = None
        query, length = self._encode(words), len(words)
        for other_length in sorted(self._encoded):
            # F1 = 2 LCS / (m + n), and LCS is at most min(m, n).
            needed = max(1, math.ceil(self.threshold * (length + other_length) / 2 - _SLACK))
            if needed > min(length, other_length):
                continue
            candidate = process.extractOne(
                query, self._encoded[other_length], scorer=LCSseq.similarity, processor=None, score_cutoff=needed
            )
            if candidate:
                score = rouge_l(round(candidate[1]), length, other_length)
                if score >= self.threshold - _SLACK and (best is None or score > best.score):
                    best = Match(score, self._names[other_length][candidate[2]])
        return best

    def _encode(self, words: Sequence[str]) -> str:
        return "".join(
            self._characters.setdefault(word, chr(_FIRST_CHARACTER + len(self._characters))) for word in words
        )
