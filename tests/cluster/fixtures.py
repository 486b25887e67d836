"""pytest fixtures of the test cluster: `cluster` for the session and `namespace` for a test.

`pytest_plugins = ["tests.cluster.fixtures"]` in the topmost conftest takes them; a conftest further down, where pytest
forbids that, calls `config.pluginmanager.import_plugin("tests.cluster.fixtures")` in its `pytest_configure`. Both may
be there: it is one plugin, and so one cluster. One that does not start is an error of every test that asks for it,
never a skip.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.cluster.faults import NodeFaults
from tests.cluster.lifetimes import keep
from tests.cluster.nodeprocess import NodeProcess, start_node
from tests.cluster.s3 import S3Server

# Set to 1, steps of the data plane start from a process that has imported torch, transformers and peft.
ZYGOTE_VARIABLE = "LLM2LLM_TEST_ZYGOTE"
# JSON object of variables that every container finds, as if its image had set them.
IMAGE_ENV_VARIABLE = "LLM2LLM_TEST_IMAGE_ENV"

_CLUSTER = (binaries.control_plane, binaries.helm)
BUILT_FOR = {
    "cluster": (*_CLUSTER, binaries.versitygw),
    "api": _CLUSTER,
    "kueue": (*_CLUSTER, binaries.kueue),
    "monitoring_crds": (binaries.monitoring_crds,),
    "prometheus": (binaries.prometheus,),
    "promtool": (binaries.prometheus,),
    "s3": (binaries.versitygw,),
    "actionlint": (binaries.actionlint,),
    "apicheck": (binaries.apicheck,),
}
"""What has to be built for tests that use a fixture of this name, here or in a conftest further down."""

_namespaces = itertools.count(1)


@dataclass(frozen=True)
class RunningCluster:
    """What the fixture `cluster` gives: a control plane, its node and an S3 server."""

    api: Cluster
    node: NodeProcess
    s3: S3Server

    @property
    def faults(self) -> NodeFaults:
        return self.node.faults

    @property
    def kubeconfig(self) -> Path:
        return self.api.kubeconfig


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds what the tests start before the first one begins: on a new machine that takes longer than a test may."""
    if session.config.option.collectonly:
        return
    fixtures = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    for fixture, builds in BUILT_FOR.items():
        if fixture in fixtures:
            for build in builds:
                build()


@pytest.fixture(scope="session")
def cluster() -> Iterator[RunningCluster]:
    """A running cluster with its node agent and an S3 server, one for the whole session."""
    zygote = os.environ.get(ZYGOTE_VARIABLE, "") == "1"
    image_env = json.loads(os.environ.get(IMAGE_ENV_VARIABLE, "{}"))
    with keep("cluster") as stack:
        api, store = stack.enter_context(Cluster()), stack.enter_context(S3Server())
        node = start_node(api, zygote=zygote, image_env=image_env)
        stack.callback(node.stop)
        yield RunningCluster(api, node, store)


@pytest.fixture
def namespace(cluster: RunningCluster) -> Iterator[str]:
    """A fresh namespace that enforces the Pod Security Standard `restricted`; deleted without waiting."""
    cluster.node.check()
    name = f"test-{next(_namespaces)}"
    cluster.api.create_namespace(name, pod_security="restricted")
    yield name
    cluster.api.request("DELETE", f"/api/v1/namespaces/{name}")
