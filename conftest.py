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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a module share its fixtures, and all end-to-end tests share a platform that takes a minute to make."""
    for item in items:
        module = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("e2e" if module.startswith("tests/e2e/") else module))
