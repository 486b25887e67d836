"""Tests that take turns: of a group of slow ones that show the same kind of thing, one runs each day.

    @pytest.mark.turns("engines")

`LLM2LLM_SWEEP=full` runs all of them, as the workflow of every night does, and so does a command line that names tests.
`LLM2LLM_TURN` is the day's number, to repeat what another day ran.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

MARK = "turns"
TURN = "LLM2LLM_TURN"


def set_turn() -> None:
    """Chooses the day once for all workers, who inherit it: they have to collect the same tests, also at midnight."""
    os.environ.setdefault(TURN, str(datetime.now(UTC).toordinal()))


def all_run(config: pytest.Config) -> bool:
    """Whether no test is left out."""
    named = any("::" in argument for argument in config.args) or bool(config.option.keyword)
    return named or os.environ.get("LLM2LLM_SWEEP") == "full"


def choose(groups: Sequence[tuple[str, str]], turn: int) -> set[str]:
    """Returns which of these pairs of a group and a test run: of each group the one whose turn it is."""
    tests: dict[str, list[str]] = defaultdict(list)
    for group, test in groups:
        tests[group].append(test)
    return {sorted(members)[turn % len(members)] for members in tests.values()}


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out the tests of groups whose turn it is not."""
    if all_run(config):
        return
    groups = {item.nodeid: str(mark.args[0]) for item in items if (mark := item.get_closest_marker(MARK))}
    chosen = choose([(group, test) for test, group in groups.items()], int(os.environ[TURN]))
    others = [item for item in items if item.nodeid in groups and item.nodeid not in chosen]
    if others:
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)
