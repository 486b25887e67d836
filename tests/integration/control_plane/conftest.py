"""A control plane without a node: what these tests need of a cluster, and may stop for a while."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster.controlplane import Cluster
from tests.support.install import install


@pytest.fixture(scope="session")
def api() -> Iterator[Cluster]:
    """A control plane of its own with the chart installed."""
    with Cluster() as cluster:
        install(cluster)
        yield cluster
