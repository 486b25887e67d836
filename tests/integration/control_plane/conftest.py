"""A control plane without a node: what these tests need of a cluster, and may stop for a while."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.lifetimes import keep
from tests.support.install import install
from tests.support.runs import Runs

_names = itertools.count(1)


@pytest.fixture(scope="session")
def api() -> Iterator[Cluster]:
    """A control plane of its own with the chart installed."""
    with keep("api") as stack:
        cluster = stack.enter_context(Cluster())
        install(cluster)
        yield cluster


@pytest.fixture
def runs(api: Cluster) -> Iterator[Runs]:
    """The runs of a fresh namespace, which goes without being waited for."""
    name = f"nodeless-{next(_names)}"
    api.create_namespace(name)
    yield Runs(api, name)
    api.request("DELETE", f"/api/v1/namespaces/{name}")
