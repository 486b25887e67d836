"""PURE: which rows share an optimizer step, and how a step is cut into micro-batches.

The order is a stream of permutations, one an epoch, each seeded by (seed, epoch); an optimizer step takes the next
`batch` rows of the stream. So every step has the same number of examples, and neither the hardware nor the lengths of
rows change which examples share a step: length only decides how a step's rows are cut.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_FEWEST = 2


@dataclass(frozen=True)
class Plan:
    """All optimizer steps of a training run.

    Attributes:
        lengths: tokens of each row.
        batch: examples of each optimizer step.
        steps: optimizer steps.
        seed: the run's random seed.
        micro_batch: rows at most that go through a model at once.
        rank: of the process whose micro-batches these are.
        ranks: processes that share each step.
    """

    lengths: Sequence[int]
    batch: int
    steps: int
    seed: int
    micro_batch: int
    rank: int = 0
    ranks: int = 1

    @property
    def accumulation(self) -> int:
        """Micro-batches of each optimizer step on each rank."""
        return math.ceil(self.batch / (self.micro_batch * self.ranks))

    def step_rows(self) -> Iterator[list[int]]:
        """The rows of each optimizer step."""
        stream = self._stream()
        for _ in range(self.steps):
            yield list(itertools.islice(stream, self.batch))

    def __iter__(self) -> Iterator[list[int]]:
        """The rows of each micro-batch of this rank, `accumulation` of them for each step.

        Rows of like length go through at the same time on all ranks, so that none waits long for another. Where a step
        has fewer rows than parts, some parts are empty: all ranks have equally many.
        """
        for rows in self.step_rows():
            yield from cut(rows, self.lengths, self.accumulation * self.ranks)[self.rank :: self.ranks]

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def padding_waste(self) -> float:
        """Share of the positions that go through the model and hold nothing."""
        used = total = 0
        for micro_batch in self:
            lengths = [self.lengths[row] for row in micro_batch] or [0]
            used += sum(lengths)
            total += max(lengths) * len(lengths)
        return 1 - used / total if total else 0.0

    def _stream(self) -> Iterator[int]:
        for epoch in itertools.count():
            rows = list(range(len(self.lengths)))
            random.Random(f"{self.seed}/{epoch}").shuffle(rows)  # noqa: S311 - an order that can be repeated, no secret
            yield from rows


def plan(
    lengths: Sequence[int],
    *,
    epochs: int,
    batch: int,
    min_steps: int,
    seed: int,
    micro_batch: int,
    rank: int = 0,
    ranks: int = 1,
) -> Plan:
    """The plan of a training run over rows of these lengths.

    A batch is never larger than the rows there are, so a step never holds one row twice; `min_steps` is reached by
    more epochs (74 examples at batch 128 are one step an epoch: fixed epochs alone would confound data with steps).
    """
    batch = min(batch, len(lengths))
    steps = max(math.ceil(epochs * len(lengths) / batch), min_steps)
    share = math.ceil(batch / ranks)
    return Plan(lengths, batch, steps, seed, min(micro_batch, share) if micro_batch else share, rank, ranks)


def economical(made: Plan, waste: float) -> Plan:
    """The plan with the largest micro-batch, of made's, half of it and so on, that pads no more than `waste`; at least
    2 rows, with which length alone keeps padding low.
    """
    while made.micro_batch > _FEWEST and made.padding_waste() > waste:
        made = replace(made, micro_batch=max(_FEWEST, math.ceil(made.micro_batch / 2)))
    return made


def cut(rows: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """The rows of a step in `parts` micro-batches of nearly equal size, with rows of like length together."""
    ordered = sorted(rows, key=lambda row: (lengths[row], row))
    bounds = [len(ordered) * part // parts for part in range(parts + 1)]
    return [ordered[begin:end] for begin, end in itertools.pairwise(bounds)]
