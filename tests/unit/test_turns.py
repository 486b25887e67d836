"""Which of the tests that take turns run."""

from __future__ import annotations

from tests.support.turns import choose

GROUPS = [("a", "one"), ("a", "three"), ("a", "two"), ("b", "alone")]


def test_one_of_each_group_runs_and_within_as_many_days_all_do():
    days = [choose(GROUPS, day) for day in range(739_000, 739_003)]
    assert all(len(chosen) == 2 and "alone" in chosen for chosen in days)
    assert set().union(*days) == {"one", "two", "three", "alone"}
