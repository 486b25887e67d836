"""One cluster for the whole session, for every tier that asks for it; with `-n`, one for each worker."""

import os

import hypothesis
import pytest

# How long one example takes says nothing about the code on a machine that others use, too.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

pytest_plugins = ["tests.cluster.fixtures"]

# Steps start from a process that has imported torch and transformers once, with one thread: the machine is small.
os.environ.setdefault("LLM2LLM_TEST_ZYGOTE", "1")
os.environ.setdefault("LLM2LLM_TEST_IMAGE_ENV", '{"OMP_NUM_THREADS": "1"}')


LONGEST_FIRST = (
    "tests/e2e/",
    "tests/integration/control_plane/",
    "tests/integration/data_plane/",
    "tests/integration/",
)
"""The order of groups: with several workers the last ones to be done are the many short modules of unit tests."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups tests for workers: those of a module share its fixtures, and all end-to-end tests a platform.

    Within a folder the order stays random.
    """
    for item in items:
        module = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("e2e" if module.startswith("tests/e2e/") else module))
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    found = (place for place, folder in enumerate(LONGEST_FIRST) if item.nodeid.startswith(folder))
    return next(found, len(LONGEST_FIRST))
