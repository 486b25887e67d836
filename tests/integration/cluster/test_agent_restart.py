"""The node agent ends and starts again."""

from __future__ import annotations

import pytest
from tests.cluster.fixtures import RunningCluster
from tests.cluster.nodeprocess import NodeProcess
from tests.cluster.processes import StartError
from tests.integration.cluster.jobs import create, job, pod_where, running, terminated


def test_pods_that_ran_when_the_agent_stopped_are_failed_by_the_next_one(
    cluster: RunningCluster, namespace: str
) -> None:
    create(cluster.api, namespace, job("orphan", ["sleep", "600"]))
    running(cluster.api, namespace)
    cluster.node.stop()
    cluster.node.start()
    pod = pod_where(cluster.api, namespace, "failed pod", lambda pod: pod["status"]["phase"] == "Failed")
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (137, "ContainerStatusUnknown")


def test_a_zygote_that_cannot_import_its_modules_fails_the_start(cluster: RunningCluster) -> None:
    cluster.node.stop()
    node = NodeProcess(cluster.api, zygote_modules=["no_such_module"], zygote_commands=["x=json:dumps"])
    try:
        with pytest.raises(StartError, match="No module named 'no_such_module'"):
            node.start()
    finally:
        node.stop()
        cluster.node.start()
