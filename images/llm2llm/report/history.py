"""PURE: follows each seed row over the iterations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm2llm.records import Example, Prediction

SUSPECT = 3
"""Number of iterations with a wrong answer after which a seed row's label may be the mistake."""
OUTPUT_LIMIT = 500
"""Maximum characters of an answer in the history."""


@dataclass(frozen=True)
class SeedHistory:
    """A seed row and the students' answers to it, in the order of the iterations."""

    example: Example
    answers: Sequence[tuple[int, Prediction]]

    @property
    def wrong(self) -> list[int]:
        """Iterations that got it wrong."""
        return [iteration for iteration, prediction in self.answers if not prediction.correct]

    @property
    def suspect(self) -> bool:
        """Whether SUSPECT or more iterations got it wrong."""
        return len(self.wrong) >= SUSPECT

    @property
    def learned(self) -> list[int]:
        """Iterations that got it right after the previous one that answered it got it wrong."""
        return self._turned(to=True)

    @property
    def forgotten(self) -> list[int]:
        """Iterations that got it wrong after the previous one that answered it got it right."""
        return self._turned(to=False)

    def _turned(self, *, to: bool) -> list[int]:
        pairs = zip(self.answers, self.answers[1:], strict=False)
        return [iteration for (_, old), (iteration, new) in pairs if old.correct != to and new.correct == to]

    def document(self) -> dict[str, Any]:
        """Returns a line of `seeds.jsonl`; for a suspect row it includes the wrong answers."""
        line: dict[str, Any] = {
            "id": self.example.id,
            "completion": self.example.completion,
            "verdicts": {str(iteration): prediction.verdict for iteration, prediction in self.answers},
            "learnt": self.learned,  # the name in the published format, which readers of earlier files know
            "forgotten": self.forgotten,
            "suspect": self.suspect,
        }
        if self.suspect:
            line["answers"] = {
                str(iteration): prediction.output[:OUTPUT_LIMIT]
                for iteration, prediction in self.answers
                if not prediction.correct
            }
        return line


def histories(seeds: Iterable[Example], evaluations: Mapping[int, Iterable[Prediction]]) -> list[SeedHistory]:
    """Returns the history of each seed row, in the order of the seed set.

    Args:
        seeds: the seed set.
        evaluations: iteration to the answers of its student; answers to rows of other sets are ignored.
    """
    answers: dict[str, list[tuple[int, Prediction]]] = {}
    for iteration in sorted(evaluations):
        for prediction in evaluations[iteration]:
            answers.setdefault(prediction.id, []).append((iteration, prediction))
    return [SeedHistory(seed, answers.get(seed.id, [])) for seed in seeds]
