"""PURE: decides which rows share an optimizer step, and how a step is cut into micro-batches.

The order of rows is a stream of permutations, one per epoch, each seeded by (seed, epoch); an optimizer step takes the
next `batch` rows of the stream. So every step has the same number of examples, and neither the hardware nor the lengths
of rows change which examples share a step: length only decides how a step's rows are cut.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

_FEWEST = 2
_TRIED_STEPS = 32
"""Number of steps that are enough to see how much a micro-batch size pads."""
_WEIGHED_ROWS = 256
"""A step with more rows is cut evenly: neighbors by length are similar then, and weighing all cuts takes rows
squared."""


@dataclass(frozen=True)
class TrainingPlan:
    """All optimizer steps of a training run.

    Attributes:
        lengths: tokens of each row.
        batch: examples of each optimizer step.
        steps: optimizer steps.
        seed: the run's random seed.
        micro_batch: maximum number of rows of the greatest length that go through a model at once; of shorter rows
            there may be more, in as many positions.
        rank: of the process whose micro-batches these are.
        ranks: processes that share each step.
        padded: whether all rows of a micro-batch are padded to the longest of them.
    """

    lengths: Sequence[int]
    batch: int
    steps: int
    seed: int
    micro_batch: int
    rank: int = 0
    ranks: int = 1
    padded: bool = True

    @property
    def accumulation(self) -> int:
        """Returns the number of micro-batches of each optimizer step on each rank."""
        return math.ceil(self.batch / (self.micro_batch * self.ranks))

    def step_rows(self) -> Iterator[list[int]]:
        """Yields the rows of each optimizer step."""
        stream = self._stream()
        for _ in range(self.steps):
            yield list(itertools.islice(stream, self.batch))

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the rows of each micro-batch of this rank, `accumulation` of them for each step.

        Rows of similar length go through at the same time on all ranks, so that none waits long for another. If a step
        has fewer rows than parts, some parts are empty: all ranks have the same number.
        """
        for parts in self._cuts():
            yield from parts[self.rank :: self.ranks]

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def padding_waste(self) -> float:
        """Returns the share of positions, on all ranks, that go through the model and hold only padding."""
        used = total = 0
        for micro_batch in itertools.chain.from_iterable(self._cuts()):
            lengths = [self.lengths[row] for row in micro_batch] or [0]
            used += sum(lengths)
            total += max(lengths) * len(lengths)
        return 1 - used / total if total else 0.0

    def _cuts(self) -> Iterator[list[list[int]]]:
        """Yields the micro-batches of each step, of all ranks."""
        parts = self.accumulation * self.ranks
        room = self.micro_batch * max(self.lengths, default=0)
        for rows in self.step_rows():
            minimize = self.padded and parts <= len(rows) <= _WEIGHED_ROWS
            yield (
                split_min_padding(rows, self.lengths, parts, room)
                if minimize
                else split_evenly(rows, self.lengths, parts)
            )

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
) -> TrainingPlan:
    """Returns the plan of a training run over rows of these lengths.

    A batch is never larger than the number of rows; a step in which one epoch ends and the next begins may contain a
    row twice. `min_steps` is reached by more epochs (74 examples at batch 128 are one step per epoch: fixed epochs
    alone would confound data with steps).
    """
    batch = min(batch, len(lengths))
    steps = max(math.ceil(epochs * len(lengths) / batch), min_steps)
    share = math.ceil(batch / ranks)
    return TrainingPlan(lengths, batch, steps, seed, min(micro_batch, share) if micro_batch else share, rank, ranks)


def limit_padding(made: TrainingPlan, waste: float) -> TrainingPlan:
    """Returns the plan with the largest micro-batch, of 2 rows up to `made`'s, that pads no more than `waste`.

    More rows at once are faster, and so is less padding, and halving the micro-batch is not always what is needed. In
    long plans the first steps stand for all.
    """
    if made.micro_batch <= _FEWEST:
        return made
    trial = replace(made, steps=min(made.steps, _TRIED_STEPS))

    def pads(rows: int) -> bool:
        return replace(trial, micro_batch=rows).padding_waste() > waste

    if not pads(made.micro_batch):
        return made
    smaller = range(_FEWEST, made.micro_batch)
    return replace(made, micro_batch=max(_FEWEST, _FEWEST + bisect_left(smaller, True, key=pads) - 1))


def split_evenly(rows: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Splits the rows of a step, sorted by length, into `parts` micro-batches of nearly equal size."""
    ordered = _by_length(rows, lengths)
    bounds = [len(ordered) * part // parts for part in range(parts + 1)]
    return [ordered[begin:end] for begin, end in itertools.pairwise(bounds)]


def split_min_padding(rows: Sequence[int], lengths: Sequence[int], parts: int, room: int) -> list[list[int]]:
    """Splits the rows of a step into `parts` micro-batches with the fewest positions, of at most `room` each.

    It sorts the rows by length and finds the cuts by dynamic programming: the best `parts` of the first rows are the
    best `parts - 1` of fewer, and one more part as wide as its last row. An even split is one of the cuts weighed, and
    with `room` for that one there is always a cut.
    """
    ordered = _by_length(rows, lengths)
    widths = np.array([0, *(lengths[row] for row in ordered)], dtype=float)
    counts = np.arange(len(widths))
    rows_between = counts[None, :] - counts[:, None]  # rows of the part between two places
    sizes = np.where(rows_between > 0, rows_between * widths[None, :], np.inf)
    sizes[(sizes > room) & (rows_between > 1)] = np.inf
    fewest_positions = np.where(counts == 0, 0.0, np.inf)
    begins = []
    for _ in range(parts):
        totals = fewest_positions[:, None] + sizes
        begins.append(totals.argmin(axis=0))
        fewest_positions = totals.min(axis=0)
    micro_batches, end = [], len(ordered)
    for begin_by_end in reversed(begins):
        begin = int(begin_by_end[end])
        micro_batches.append(ordered[begin:end])
        end = begin
    return micro_batches[::-1]


def _by_length(rows: Sequence[int], lengths: Sequence[int]) -> list[int]:
    return sorted(rows, key=lambda row: (lengths[row], row))
