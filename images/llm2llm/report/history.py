"""PURE: what became of each seed row over the iterations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm2llm.records import Example, Prediction

SUSPECT = 3
"""Iterations in which a seed row was wrong, from which on its label may be the mistake."""
OUTPUT_LIMIT = 500
"""Characters of an answer that the history keeps."""


@dataclass(frozen=True)
class SeedHistory:
    """A seed row, and what the student of each iteration that was asked it answered; in the order of the iterations."""

    example: Example
    answers: Sequence[tuple[int, Prediction]]

    @property
    def wrong(self) -> list[int]:
        """Iterations that got it wrong."""
        return [iteration for iteration, told in self.answers if not told.correct]

    @property
    def suspect(self) -> bool:
        """Wrong in SUSPECT or more iterations."""
        return len(self.wrong) >= SUSPECT

    @property
    def learned(self) -> list[int]:
        """Iterations that got it right after one that did not, the last that was asked."""
        return self._turned(to=True)

    @property
    def forgotten(self) -> list[int]:
        """Iterations that got it wrong after one that did not."""
        return self._turned(to=False)

    def _turned(self, *, to: bool) -> list[int]:
        pairs = zip(self.answers, self.answers[1:], strict=False)
        return [iteration for (_, old), (iteration, new) in pairs if old.correct != to and new.correct == to]

    def document(self) -> dict[str, Any]:
        """A line of `seeds.jsonl`; of a suspect also what the student answered."""
        told: dict[str, Any] = {
            "id": self.example.id,
            "completion": self.example.completion,
            "verdicts": {str(iteration): prediction.verdict for iteration, prediction in self.answers},
            "learnt": self.learned,  # the word of the published format: readers of earlier files know it
            "forgotten": self.forgotten,
            "suspect": self.suspect,
        }
        if self.suspect:
            told["answers"] = {
                str(iteration): prediction.output[:OUTPUT_LIMIT]
                for iteration, prediction in self.answers
                if not prediction.correct
            }
        return told


def histories(seeds: Iterable[Example], evaluations: Mapping[int, Iterable[Prediction]]) -> list[SeedHistory]:
    """The history of each seed row, in the order of the seed set.

    Args:
        evaluations: iteration to what its student answered; rows of other sets are left out.
    """
    answers: dict[str, list[tuple[int, Prediction]]] = {}
    for iteration in sorted(evaluations):
        for prediction in evaluations[iteration]:
            answers.setdefault(prediction.id, []).append((iteration, prediction))
    return [SeedHistory(seed, answers.get(seed.id, [])) for seed in seeds]
