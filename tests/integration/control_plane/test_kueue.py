"""Runs beside a real Kueue: what a suspended Job waits for, in Kueue's words, and what a preemption does to a run.

Pods are ended by a script, so that the GPUs of the quota need not exist. All runs go side by side under one operator;
each test looks at its own. Tests come in a random order, so the one that stops Kueue waits for whatever it may delay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.kueue import Kueue
from tests.support.install import OperatorProcess, install
from tests.support.podender import Ending, PodEnder, succeed
from tests.support.runs import Document, Runs, condition

from llm2llm.records import Stage, StepDocument

TEAM = "kueue-team"
GPU = "nvidia.com/gpu"
API = "kueue.x-k8s.io/v1beta2"
WORKLOADS = f"/apis/{API}/namespaces/{TEAM}/workloads"


def cluster_queue(name: str, *, flavor: str = "gpus", quota: int = 1) -> Document:
    resources = [{"name": GPU, "nominalQuota": quota}]
    groups = [{"coveredResources": [GPU], "flavors": [{"name": flavor, "resources": resources}]}]
    preemption = {"withinClusterQueue": "LowerPriority"}
    spec = {"namespaceSelector": {}, "preemption": preemption, "resourceGroups": groups}
    return {"apiVersion": API, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec}


def local_queue(name: str) -> Document:
    metadata = {"name": name, "namespace": TEAM}
    return {"apiVersion": API, "kind": "LocalQueue", "metadata": metadata, "spec": {"clusterQueue": name}}


def priority(name: str, value: int) -> Document:
    return {"apiVersion": API, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": value}


QUEUES = [
    {"apiVersion": API, "kind": "ResourceFlavor", "metadata": {"name": "gpus"}},
    *(cluster_queue(name) for name in ("calm", "full", "contested")),
    cluster_queue("inactive", flavor="nobody-has-made-it"),
    cluster_queue("cpus", quota=0),
    *(local_queue(name) for name in ("calm", "cpus", "full", "contested", "inactive", "orphaned")),
    priority("low", 100),
    priority("high", 1000),
]


def asks(resource: str = GPU) -> Document:
    """A step that asks for one of these."""
    return {"resources": {"limits": {resource: "1"}}}


RUNS: dict[str, Document] = {
    "calm": {"scheduling": {"queueName": "calm", "cpuQueueName": "cpus"}, "train": asks(), "evaluate": asks()},
    "holder": {"scheduling": {"queueName": "full"}, "train": asks()},
    "beggar": {"scheduling": {"queueName": "full"}, "train": asks()},
    "nowhere": {"scheduling": {"queueName": "nowhere"}, "train": asks()},
    "orphaned": {"scheduling": {"queueName": "orphaned"}, "train": asks()},
    "inactive": {"scheduling": {"queueName": "inactive"}, "train": asks()},
    "uncovered": {"scheduling": {"queueName": "calm"}, "train": asks("example.com/fpga")},
    "classless": {
        "scheduling": {"queueName": "calm", "workloadPriorityClassName": "nobody-has-made-it"},
        "train": asks(),
    },
}
WAITS: dict[str, tuple[str, str]] = {
    "beggar": ("Queued", "insufficient unused quota for nvidia.com/gpu in flavor gpus, 1 more needed"),
    "nowhere": ("Inadmissible", "LocalQueue nowhere doesn't exist"),
    "orphaned": ("Inadmissible", "orphaned doesn't exist"),
    "inactive": ("Inadmissible", "ClusterQueue inactive is inactive"),
    "uncovered": ("Queued", "example.com/fpga"),
    "classless": ("NoWorkload", "WorkloadPriorityClass nobody-has-made-it exists"),
}


class Script:
    """Every step ends well, but for a training that holds on to its quota: for ever, or until it is preempted."""

    def __init__(self) -> None:
        self._trained: set[str] = set()

    def __call__(self, step: StepDocument) -> Ending:
        """How the pod's life goes."""
        if step.stage is not Stage.TRAIN:
            return succeed(step)
        first = step.run not in self._trained
        self._trained.add(step.run)
        holds = step.run == "holder" or (step.run == "low" and first)
        return Ending(seconds=math.inf) if holds else succeed(step)


@pytest.fixture(scope="module")
def kueue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kueue, Runs]]:
    """Kueue, and the runs of a team with queues, at work in a cluster of their own."""
    folder = tmp_path_factory.mktemp("kueue")
    with Cluster() as api:
        install(api)
        api.create_namespace(TEAM)
        with Kueue(api, folder / "kueue") as kueue:
            kueue.apply(*QUEUES)
            runs = Runs(api, TEAM)
            with PodEnder(api, seconds=0.3, script=Script()), OperatorProcess(api, folder / "operator"):
                for name, spec in RUNS.items():
                    runs.create(name, maxIterations=1, **spec)
                    if name == "holder":
                        runs.wait(name, is_training)
                yield kueue, runs


def is_training(status: Document) -> bool:
    step = status.get("currentStep") or {}
    return (step.get("stage"), step.get("state")) == ("Train", "Running")


def attempts(status: Document) -> list[tuple[str, int]]:
    """Stage and number of the attempt of each step that is recorded."""
    records = [*status["steps"], *(step for iteration in status["iterations"] for step in iteration["steps"])]
    return [(record["stage"], record.get("attempt", 0)) for record in records]


def waits_for(reason: str, words: str) -> Any:
    def told(status: Document) -> bool:
        progressing = condition(status, "Progressing")
        return progressing.get("reason") == reason and words in progressing["message"]

    return told


def test_a_run_with_quota_goes_to_its_end_as_without_a_queue(kueue: tuple[Kueue, Runs]):
    _, runs = kueue
    status = runs.wait_for_end("calm")
    assert status["phase"] == "Succeeded"
    assert attempts(status) == [("Prepare", 0), ("Train", 0), ("Evaluate", 0)]


@pytest.mark.parametrize("name", WAITS)
def test_fault_65_a_run_waits_in_the_words_of_kueue(kueue: tuple[Kueue, Runs], name: str):
    _, runs = kueue
    status = runs.wait(name, waits_for(*WAITS[name]))
    assert (status["phase"], status["currentStep"]["state"]) == ("Queued", "Queued")


def test_fault_65_a_corrected_queue_replaces_the_job_that_waits_for_nothing(kueue: tuple[Kueue, Runs]):
    _, runs = kueue
    runs.create("lost", maxIterations=1, scheduling={"queueName": "nowhere"}, train=asks())
    runs.wait("lost", waits_for("Inadmissible", "LocalQueue nowhere doesn't exist"))
    runs.patch("lost", scheduling={"queueName": "calm"})
    status = runs.wait_for_end("lost")
    assert (status["phase"], attempts(status)) == ("Succeeded", [("Prepare", 0), ("Train", 1), ("Evaluate", 0)])
    assert [event["reason"] for event in runs.events("lost") if "Retried" in event["reason"]] == []


def test_fault_65_a_workload_that_a_person_deactivates_is_told(kueue: tuple[Kueue, Runs]):
    _, runs = kueue
    runs.create("stopped", maxIterations=1, scheduling={"queueName": "full"}, train=asks())
    runs.wait("stopped", waits_for("Queued", "insufficient"))
    job = runs.status("stopped")["currentStep"]["jobName"]
    page = runs.cluster.request("GET", WORKLOADS)
    [workload] = [
        each["metadata"]["name"]
        for each in page["items"]
        if any(owner["name"] == job for owner in each["metadata"]["ownerReferences"])
    ]
    merge = "application/merge-patch+json"
    runs.cluster.request("PATCH", f"{WORKLOADS}/{workload}", {"spec": {"active": False}}, content_type=merge)
    status = runs.wait("stopped", waits_for("Deactivated", f"Workload {workload} is deactivated"))
    assert "set its spec.active to true" in status["message"]


def test_fault_18_a_preempted_run_goes_on_as_the_same_attempt(kueue: tuple[Kueue, Runs]):
    _, runs = kueue
    contested = {"queueName": "contested"}
    runs.create("low", maxIterations=1, scheduling=contested | {"workloadPriorityClassName": "low"}, train=asks())
    runs.wait("low", is_training)
    runs.create("high", maxIterations=1, scheduling=contested | {"workloadPriorityClassName": "high"}, train=asks())
    status = runs.wait("low", lambda status: status["currentStep"].get("requeues") == 1)
    [event] = [each for each in runs.events("low") if each["reason"] == "TrainRequeued"]
    assert "Preempted to accommodate a workload" in event["message"]
    assert runs.wait_for_end("high")["phase"] == "Succeeded"
    status = runs.wait_for_end("low")
    assert status["phase"] == "Succeeded"
    assert attempts(status) == [("Prepare", 0), ("Train", 0), ("Evaluate", 0)]
    assert [event["reason"] for event in runs.events("low") if "Retried" in event["reason"]] == []


def test_fault_65_a_run_says_that_kueues_webhook_is_away(kueue: tuple[Kueue, Runs]):
    controller, runs = kueue
    controller.stop()
    try:
        runs.create("late", maxIterations=1, scheduling={"queueName": "calm"})
        status = runs.wait("late", waits_for("WebhookUnavailable", "failed calling webhook"))
        assert (status["phase"], runs.jobs("late")) == ("Pending", [])
    finally:
        controller.start()
    assert runs.wait_for_end("late")["phase"] == "Succeeded"
