"""PURE: compares two students' verdicts on the same rows.

Two accuracies with their intervals say little about each other: most rows are easy or hopeless for both students. The
rows that only one of them gets right show which is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from llm2llm.records import Paired

LEVEL = 20
"""Equally good students pass as better at most one time in LEVEL (a one-sided level of .05)."""


def compare(against: int, dataset: str, before: Mapping[str, bool], now: Mapping[str, bool]) -> Paired | None:
    """Returns how the verdicts on a set changed between two iterations; None if they have no row in common.

    Args:
        against: the earlier iteration.
        dataset: name of the set.
        before: row id to whether the earlier iteration was right.
        now: the same for this iteration.
    """
    both = before.keys() & now.keys()
    if not both:
        return None
    return Paired(
        against=against,
        dataset=dataset,
        examples=len(both),
        gained=sum(now[row] and not before[row] for row in both),
        lost=sum(before[row] and not now[row] for row in both),
    )


@lru_cache(maxsize=4096)
def is_better(gained: int, lost: int) -> bool:
    """Returns whether the rows gained and lost are more than chance: the one-sided exact sign test at LEVEL.

    If the students are equal, each row that changed is as likely gained as lost, so the number gained is binomial with
    probability one half (McNemar, 1947, Psychometrika 12, in its exact form). At least five rows have to change.
    """
    changed = gained + lost
    if gained <= lost:
        return False
    term = tail = math.comb(changed, gained)
    for count in range(gained, changed):
        term = term * (changed - count) // (count + 1)
        tail += term
    return LEVEL * tail <= 1 << changed


def p_value(gained: int, lost: int) -> float:
    """Returns the two-sided p-value of the exact sign test, as `is_better` describes it."""
    changed = gained + lost
    term = tail = 1
    for count in range(min(gained, lost)):
        term = term * (changed - count) // (count + 1)
        tail += term
    return min(1.0, float(Fraction(2 * tail, 1 << changed)))
