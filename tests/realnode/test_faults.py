"""What happens to a step on a node: a drain, too little memory, a volume that root owns, an upgrade."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.credentials import NODE_NAME
from tests.cluster.processes import wait_until
from tests.realnode.conftest import Installed
from tests.support.runs import condition

Document = dict[str, Any]


def trains(status: Document) -> bool:
    return {"stage": "Train", "state": "Running"}.items() <= (status.get("currentStep") or {}).items()


def pods(installed: Installed, team: str, stage: str) -> list[Document]:
    listed = installed.cluster.request("GET", f"/api/v1/namespaces/{team}/pods")["items"]
    return [pod for pod in listed if pod["metadata"]["labels"]["llm2llm.dev/stage"] == stage]


def name_of(pod: Document) -> str:
    return str(pod["metadata"]["name"])


def attempts(status: Document) -> list[tuple[str, int]]:
    return [(step["stage"], step["attempt"]) for row in status["iterations"] for step in row["steps"]]


def best(status: Document) -> tuple[str, str, str]:
    return status["phase"], status["best"]["value"], status["best"]["digest"]


@pytest.fixture(scope="module")
def calm(installed: Installed) -> Document:
    """How one iteration ends where nothing happens to it."""
    team = installed.team()
    installed.platform.apply(team, installed.platform.manifest(maxIterations=1))
    return installed.platform.wait_for_end(team, timeout=600)


@pytest.mark.turns("real node")
def test_a_drain_during_training_ends_with_the_same_adapter(installed: Installed, calm: Document):
    team, platform = installed.team(), installed.platform
    platform.apply(team, platform.manifest(maxIterations=1))
    platform.wait(team, "keyword", trains, timeout=120)
    [pod] = pods(installed, team, "train")
    installed.cluster.evict(team, pod["metadata"]["name"])
    wait_until("another pod", lambda: {name_of(pod)}.isdisjoint(map(name_of, pods(installed, team, "train"))), [])
    status = platform.wait_for_end(team, timeout=600)
    assert best(status) == best(calm)
    assert attempts(status) == attempts(calm)  # the Job replaced its pod


@pytest.mark.turns("real node")
def test_an_upgrade_during_training_does_not_touch_the_run(installed: Installed, calm: Document):
    team, platform = installed.team(), installed.platform
    platform.apply(team, platform.manifest(maxIterations=1))
    platform.wait(team, "keyword", trains, timeout=120)
    before = set(map(name_of, installed.operators()))
    installed.install("deployment.podAnnotations.upgraded=yes")
    status = platform.wait_for_end(team, timeout=600)
    assert best(status) == best(calm)
    assert attempts(status) == attempts(calm)
    assert before.isdisjoint(pod for pod in map(name_of, installed.operators()))


@pytest.mark.turns("real node")
def test_a_step_with_too_little_memory_says_so(installed: Installed):
    team, platform = installed.team(), installed.platform
    document = platform.manifest(maxIterations=1, retries={"transient": 0})
    document["spec"]["train"]["resources"] = {"limits": {"memory": "120Mi"}, "requests": {"memory": "120Mi"}}
    platform.apply(team, document)
    status = platform.wait_for_end(team, timeout=300)
    failed = condition(status, "Failed")
    assert (failed["reason"], "memory" in failed["message"]) == ("OutOfMemory", True), failed
    for pod in pods(installed, team, "train"):
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"


@pytest.mark.turns("real node")
def test_a_step_can_write_to_a_claim_that_root_owns(installed: Installed):
    team, platform = installed.team(), installed.platform
    folder = installed.node.folder / "volumes" / "cache"
    folder.mkdir(parents=True, mode=0o755)
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    size = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "cache"},
        "spec": {
            "capacity": size,
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local",
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "cache"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "local", "resources": {"requests": size}},
    }
    for document in (volume, claim):
        platform.apply(team, document)
    run = platform.manifest(maxIterations=1)
    run["spec"]["student"]["cache"] = {"persistentVolumeClaim": {"claimName": "cache"}}
    platform.apply(team, run)
    assert platform.wait_for_end(team, timeout=600)["phase"] == "Succeeded"
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written
    assert {path.stat().st_uid for path in written} == {65532}
