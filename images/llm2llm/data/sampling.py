"""PURE: which rows of a file are taken, by a seed: the same ones on every machine and in every run of it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from llm2llm.api.data import Share
from llm2llm.records import digest_of


def sample_size(share: Share, rows: int) -> int:
    """Rows that a share means: its count, or its fraction of `rows`, rounded half up."""
    if share.count is not None:
        return share.count
    return int(Fraction(share.fraction or "0") * rows + Fraction(1, 2))


def folds(labels: Sequence[str], count: int, *, seed: int) -> list[int]:
    """The fold of each row, 0 to count - 1: every fold has as many rows, and as many of each label, as any other or one
    more or less.

    Args:
        labels: the answer of each row; all the same where answers are no labels.
        count: how many folds.
        seed: `spec.randomSeed`.
    """
    rng = random.Random(digest_of([seed, "folds", len(labels)]))  # noqa: S311
    order = list(range(len(labels)))
    rng.shuffle(order)
    order.sort(key=lambda index: labels[index])  # stable: shuffled within a label
    found = [0] * len(labels)
    for place, index in enumerate(order):
        found[index] = place % count
    return found


def choose_rows(
    labels: Sequence[str], count: int, *, seed: int, purpose: str, stratify: bool, leave_each: bool = False
) -> set[int]:
    """Indices of `count` rows, drawn without replacement.

    Args:
        labels: the answer of each row.
        count: how many; at most as many as there are rows.
        seed: `spec.randomSeed`.
        purpose: what they are for, so that two draws of one seed are independent.
        stratify: every label gets its share, by largest remainders (Hamilton's method of apportionment).
        leave_each: of every label a row is left, as long as others have more of them.
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


def _leave_each(sizes: dict[str, int], there: Mapping[str, int]) -> None:
    """Takes the last row of a label back, and one of the label that has most left in its place."""
    for label in sorted(sizes):
        most = max(sizes, key=lambda other: (there[other] - sizes[other], other))
        if sizes[label] == there[label] and there[most] - sizes[most] > 1:
            sizes[label] -= 1
            sizes[most] += 1
