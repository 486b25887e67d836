from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.fixtures import RunningCluster
from tests.support.install import OperatorProcess, install
from tests.support.platform import Platform
from tests.support.teacher import Teacher

_names = itertools.count(1)


@pytest.fixture(scope="session")
def platform(cluster: RunningCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The cluster with the chart, the example's data in S3 and its teacher."""
    install(cluster.api)
    with Teacher(tmp_path_factory.mktemp("teacher")) as teacher:
        ready = Platform(cluster.api, cluster.s3, teacher)
        ready.upload_example(tmp_path_factory.mktemp("keyword"))
        yield ready


@pytest.fixture
def operator(cluster: RunningCluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator under the chart's ServiceAccount, ended after the test."""
    with OperatorProcess(cluster.api, tmp_path / "operator") as process:
        yield process


@pytest.fixture
def team(platform: Platform) -> str:
    """A namespace that enforces `restricted` and has the Secrets that run.yaml names."""
    name = f"team-{next(_names)}"
    platform.prepare_namespace(name)
    return name
