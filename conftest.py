"""One cluster for the whole session, for every tier that asks for it; with `-n`, one for each worker."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from tests.cluster.lifetimes import let_go
from tests.support import turns
from tests.support.lanes import Lanes
from tests.support.log import Log, logged

# How long one example takes says nothing about the code on a machine that others use, too.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

pytest_plugins = ["tests.cluster.fixtures"]

# Steps start from a process that has imported torch and transformers once, with one thread: the machine is small.
os.environ.setdefault("LLM2LLM_TEST_ZYGOTE", "1")
os.environ.setdefault("LLM2LLM_TEST_IMAGE_ENV", '{"OMP_NUM_THREADS": "1"}')

LONGEST_FIRST = (
    "tests/e2e/",
    "tests/integration/cluster/",
    "tests/integration/control_plane/",
    "tests/integration/local/",
    "tests/integration/data_plane/",
    "tests/integration/",
)
"""The order of folders: with several workers the last ones to be done are the many short modules of unit tests."""

CONTROL_PLANES = ("cluster", "api")
"""Fixtures of a session that run a control plane; with several workers each of them has its own."""
_last_use: dict[str, int] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    return Lanes(config, log)


def pytest_configure() -> None:
    turns.set_turn()
    gc.disable()  # all that is imported stays


def pytest_collection_finish() -> None:
    """Has the garbage collector leave alone what was imported, torch above all: that was a tenth of the time."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the longest groups first; within a folder the order of modules stays random."""
    turns.leave_out(config, items)
    items.sort(key=_rank)
    for fixture in CONTROL_PLANES:
        users = [_rank(item) for item in items if fixture in getattr(item, "fixturenames", ())]
        _last_use[fixture] = max(users, default=0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Ends a control plane once the folders of the tests that need it are done: an idle one takes 5 % of a core."""
    for fixture in CONTROL_PLANES:
        if _rank(item) > _last_use[fixture]:
            let_go(fixture)


def _rank(item: pytest.Item) -> int:
    found = (place for place, folder in enumerate(LONGEST_FIRST) if item.nodeid.startswith(folder))
    return next(found, len(LONGEST_FIRST))


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged as a warning or worse."""
    with logged() as found:
        yield found
