"""Takes the fixtures of the test cluster from wherever pytest was started."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("tests.cluster.fixtures"):
        config.pluginmanager.import_plugin("tests.cluster.fixtures")
