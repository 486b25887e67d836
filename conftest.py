"""One cluster for the whole session, for every tier that asks for it; with `-n`, one for each worker."""

from __future__ import annotations

import os

import hypothesis
import pytest
from tests.cluster.lifetimes import let_go
from tests.support import turns
from xdist.scheduler import LoadScopeScheduling

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
    "tests/integration/local/",
    "tests/integration/control_plane/",
    "tests/integration/data_plane/",
    "tests/integration/",
)
"""The order of groups: with several workers the last ones to be done are the many short modules of unit tests."""


CONTROL_PLANES = ("cluster", "api")
"""Fixtures of a session that run a control plane; with several workers each of them has its own."""
_last_use: dict[str, int] = {}


SHARE_A_RUN = ("tests/e2e/test_calm.py", "tests/e2e/test_crash.py", "tests/e2e/test_without_a_cluster.py")
"""Modules that compare their run with the same one, undisturbed: it is made once, for one worker."""


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Gives the tests of a module to one worker, since they share its fixtures; each worker has a cluster of its own.

    xdist 3.8 has `xdist_group` for that, and under pytest 9.2 each test is a group of its own: the mark is written into
    the id of a test at a place where nobody looks any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return SHARE_A_RUN[0] if module in SHARE_A_RUN else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Groups:
    return Groups(config, log)


def pytest_configure() -> None:
    turns.set_turn()


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
