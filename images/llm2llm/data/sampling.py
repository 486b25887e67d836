"""PURE: samples rows of a file by a seed: the same ones on every machine and in every repetition."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from llm2llm.api.data import Share
from llm2llm.records import digest_of


def sample_size(share: Share, rows: int) -> int:
    """Returns the number of rows of a share: its count, or its fraction of `rows`, rounded half up."""
    if share.count is not None:
        return share.count
    return int(Fraction(share.fraction or "0") * rows + Fraction(1, 2))


def folds(labels: Sequence[str], count: int, *, seed: int) -> list[int]:
    """Returns the fold of each row, 0 to count - 1.

    The folds differ by at most one in their number of rows, and in their number of rows of each label.

    Args:
        labels: the answer of each row; all the same if answers are not labels.
        count: number of folds.
        seed: `spec.randomSeed`.
    """
    rng = random.Random(digest_of([seed, "folds", len(labels)]))  # noqa: S311
    order = list(range(len(labels)))
    rng.shuffle(order)
    order.sort(key=lambda index: labels[index])  # stable: shuffled within a label
    fold_of_row = [0] * len(labels)
    for position, index in enumerate(order):
        fold_of_row[index] = position % count
    return fold_of_row


def choose_rows(
    labels: Sequence[str], count: int, *, seed: int, purpose: str, stratify: bool, leave_each: bool = False
) -> set[int]:
    """Returns the indices of `count` rows, drawn without replacement.

    Args:
        labels: the answer of each row.
        count: number of rows to draw; at most as many as there are rows.
        seed: `spec.randomSeed`.
        purpose: what they are for, so that two draws with one seed are independent.
        stratify: every label gets its share, by largest remainders (Hamilton's method of apportionment).
        leave_each: leave one row of every label, as long as other labels have more rows left.
    """
    rng = random.Random(digest_of([seed, purpose, len(labels)]))  # noqa: S311
    order = list(range(len(labels)))
    rng.shuffle(order)
    if not stratify:
        return set(order[:count])
    groups: dict[str, list[int]] = defaultdict(list)
    for index in order:
        groups[labels[index]].append(index)
    exact = {label: Fraction(len(members) * count, len(labels)) for label, members in groups.items()}
    sizes = {label: int(share) for label, share in exact.items()}
    by_remainder = sorted(exact, key=lambda label: (sizes[label] - exact[label], label))
    for label in by_remainder[: count - sum(sizes.values())]:
        sizes[label] += 1
    if leave_each:
        _leave_each(sizes, {label: len(members) for label, members in groups.items()})
    return {index for label, members in groups.items() for index in members[: sizes[label]]}


def _leave_each(sizes: dict[str, int], totals: Mapping[str, int]) -> None:
    """Gives the last row of a label back, and takes one of the label that has most left instead."""
    for label in sorted(sizes):
        most = max(sizes, key=lambda other: (totals[other] - sizes[other], other))
        if sizes[label] == totals[label] and totals[most] - sizes[most] > 1:
            sizes[label] -= 1
            sizes[most] += 1
