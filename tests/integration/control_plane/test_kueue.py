"""Runs beside a real Kueue: what a suspended Job waits for, in Kueue's words, and what a preemption does to a run.

Pods are ended by a script, so that the GPUs of the quota need not exist. All runs go side by side under one operator;
each test looks at its own. Tests come in a random order, so the one that stops Kueue waits for whatever it may delay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.credentials import NODE_NAME
from tests.cluster.kueue import MANAGED_LABEL, Kueue
from tests.cluster.nodeprocess import start_node
from tests.cluster.processes import wait_until
from tests.cluster.s3 import S3Server
from tests.support.corpus import EXAMPLES
from tests.support.install import OperatorProcess, install, parse_manifests
from tests.support.platform import BUCKET, Platform
from tests.support.podender import Ending, PodEnder, succeed
from tests.support.runs import MERGE_PATCH, Document, Runs, condition
from tests.support.teacher import Teacher

from llm2llm.records import Stage, StepDocument

TEAM, MANAGED = "kueue-team", "kueue-managed-team"
REAL = "kueue-real-team"
TRAINS = "tests.llm2llm.dev/trains"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
GPU = "nvidia.com/gpu"
API = "kueue.x-k8s.io/v1beta2"
WORKLOADS = f"/apis/{API}/namespaces/{TEAM}/workloads"


def cluster_queue(name: str, *, flavor: str = "gpus", quota: int = 1, **spec: Any) -> Document:
    resources = [{"name": GPU, "nominalQuota": quota}]
    groups = [{"coveredResources": [GPU], "flavors": [{"name": flavor, "resources": resources}]}]
    preemption = {"withinClusterQueue": "LowerPriority"}
    spec |= {"namespaceSelector": {}, "preemption": preemption, "resourceGroups": groups}
    return {"apiVersion": API, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec}


def local_queue(name: str, namespace: str = TEAM) -> Document:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API, "kind": "LocalQueue", "metadata": metadata, "spec": {"clusterQueue": name}}


def priority(name: str, value: int) -> Document:
    return {"apiVersion": API, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": value}


CHECK = {
    "apiVersion": API,
    "kind": "AdmissionCheck",
    "metadata": {"name": "capacity"},
    "spec": {"controllerName": "tests.llm2llm.dev/nobody"},
}
QUEUES = [
    CHECK,
    {"apiVersion": API, "kind": "ResourceFlavor", "metadata": {"name": "gpus"}},
    *(cluster_queue(name) for name in ("calm", "full", "contested")),
    cluster_queue("inactive", flavor="nobody-has-made-it"),
    cluster_queue("cpus", quota=0),
    cluster_queue("checked", quota=3, admissionChecksStrategy={"admissionChecks": [{"name": "capacity"}]}),
    *(local_queue(name) for name in ("calm", "cpus", "full", "contested", "inactive", "orphaned", "checked")),
    *(local_queue(name, MANAGED) for name in ("calm", "cpus")),
    priority("low", 100),
    priority("high", 1000),
]


def asks(resource: str = GPU) -> Document:
    """A step that asks for one of these."""
    return {"resources": {"limits": {resource: "1"}}}


RUNS: dict[str, Document] = {
    "calm": {"scheduling": {"queueName": "calm", "cpuQueueName": "cpus"}, "train": asks(), "evaluate": asks()},
    "holder": {"scheduling": {"queueName": "full"}, "train": asks()},
    **{name: {"scheduling": {"queueName": "full"}, "train": asks()} for name in ("beggar", "stopped")},
    **{name: {"scheduling": {"queueName": "nowhere"}, "train": asks()} for name in ("nowhere", "lost")},
    "orphaned": {"scheduling": {"queueName": "orphaned"}, "train": asks()},
    "inactive": {"scheduling": {"queueName": "inactive"}, "train": asks()},
    "uncovered": {"scheduling": {"queueName": "calm"}, "train": asks("example.com/fpga")},
    **{
        f"check-{state.lower()}": {"scheduling": {"queueName": "checked"}, "train": asks()}
        for state in ("Pending", "Retry", "Rejected")
    },
    "classless": {
        "scheduling": {"queueName": "calm", "workloadPriorityClassName": "nobody-has-made-it"},
        "train": asks(),
    },
}
MANAGED_RUNS = {"queued": {"queueName": "calm", "cpuQueueName": "cpus"}, "queueless": {"queueName": "calm"}}
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
    with ExitStack() as stack:
        api = stack.enter_context(Cluster())
        install(api)
        for namespace in (TEAM, MANAGED):
            api.create_namespace(namespace)
        api.kubectl("label", "namespace", MANAGED, f"{MANAGED_LABEL}=all")
        stack.callback(start_node(api, zygote=True, image_env=ONE_THREAD).stop)
        api.kubectl("taint", "node", NODE_NAME, f"{TRAINS}=really:NoSchedule")
        kueue = stack.enter_context(Kueue(api, folder / "kueue"))
        kueue.apply(*QUEUES)
        kueue.activate_check("capacity")
        stack.enter_context(PodEnder(api, seconds=0.3, script=Script()))
        stack.enter_context(OperatorProcess(api, folder / "operator"))
        runs, managed = Runs(api, TEAM), Runs(api, MANAGED)
        for name, spec in RUNS.items():
            runs.create(name, maxIterations=1, **spec)
            if name == "holder":
                runs.wait(name, is_training)
        for name, scheduling in MANAGED_RUNS.items():
            managed.create(name, maxIterations=1, scheduling=scheduling, train=asks())
        yield kueue, runs


@pytest.fixture
def platform(kueue: tuple[Kueue, Runs], tmp_path: Path) -> Iterator[Platform]:
    """The same cluster with the keyword example, whose runs go to the node that trains really."""
    _, runs = kueue
    with S3Server() as s3, Teacher(tmp_path / "teacher") as teacher:
        platform = Platform(runs.cluster, s3, teacher)
        platform.upload_example(tmp_path / "example")
        few = (tmp_path / "example" / "evaluation.jsonl").read_bytes().splitlines(keepends=True)[::50]
        platform.client().put_object(Bucket=BUCKET, Key="keyword/few.jsonl", Body=b"".join(few))
        yield platform


@pytest.fixture
def managed(kueue: tuple[Kueue, Runs]) -> Runs:
    """The runs of a namespace where Kueue manages Jobs without a queue name, too."""
    return Runs(kueue[1].cluster, MANAGED)


def is_training(status: Document) -> bool:
    step = status.get("currentStep") or {}
    return (step.get("stage"), step.get("state")) == ("Train", "Running")


def attempts(status: Document) -> list[tuple[str, int]]:
    """Stage and number of the attempt of each step that is recorded."""
    records = [*status["steps"], *(step for iteration in status["iterations"] for step in iteration["steps"])]
    return [(record["stage"], record.get("attempt", 0)) for record in records]


def seconds_in_queue(runs: Runs, name: str) -> float:
    since = datetime.fromisoformat(runs.status(name)["currentStep"]["since"])
    return (datetime.now(UTC) - since).total_seconds()


def workloads_of(runs: Runs, name: str) -> list[Document]:
    """The Workload of a run's Job, if there is one."""
    job = runs.status(name)["currentStep"]["jobName"]
    listed = runs.cluster.request("GET", WORKLOADS)["items"]
    return [each for each in listed if any(owner["name"] == job for owner in each["metadata"]["ownerReferences"])]


def workload_of(runs: Runs, name: str) -> Document:
    """The Workload of a run's Job."""
    [found] = workloads_of(runs, name)
    return found


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


def test_kueue_takes_the_queues_of_the_example(kueue: tuple[Kueue, Runs]):
    cluster = kueue[1].cluster
    for team in ("team-a", "team-b"):
        cluster.create_namespace(team)
    file = EXAMPLES / "kueue" / "queues.yaml"
    told = cluster.kubectl("apply", "-f", str(file), "--dry-run=server")
    assert told.count("(server dry run)") == len(parse_manifests(file.read_text()))


@pytest.mark.parametrize("name", WAITS)
def test_fault_65_a_run_waits_in_the_words_of_kueue(kueue: tuple[Kueue, Runs], name: str):
    _, runs = kueue
    status = runs.wait(name, waits_for(*WAITS[name]))
    assert (status["phase"], status["currentStep"]["state"]) == ("Queued", "Queued")


def test_fault_65_a_corrected_queue_replaces_the_job_that_waits_for_nothing(kueue: tuple[Kueue, Runs]):
    _, runs = kueue
    runs.wait("lost", waits_for("Inadmissible", "LocalQueue nowhere doesn't exist"))
    runs.patch("lost", scheduling={"queueName": "calm"})
    status = runs.wait_for_end("lost")
    assert (status["phase"], attempts(status)) == ("Succeeded", [("Prepare", 0), ("Train", 1), ("Evaluate", 0)])
    assert [event["reason"] for event in runs.events("lost") if "Retried" in event["reason"]] == []


def test_fault_65_a_workload_that_a_person_deactivates_is_told(kueue: tuple[Kueue, Runs]):
    _, runs = kueue
    runs.wait("stopped", waits_for("Queued", "is suspended"))
    wait_until("its Workload", lambda: bool(workloads_of(runs, "stopped")), [])
    workload = workload_of(runs, "stopped")["metadata"]["name"]
    runs.cluster.request("PATCH", f"{WORKLOADS}/{workload}", {"spec": {"active": False}}, content_type=MERGE_PATCH)
    wait_until("the time from which on it reads Workloads", lambda: seconds_in_queue(runs, "stopped") > 20, [])
    runs.touch("stopped")
    status = runs.wait("stopped", waits_for("Deactivated", f"Workload {workload} is deactivated"))
    assert "set its spec.active to true" in status["message"]


def test_fault_65_a_job_without_a_queue_is_told_where_kueue_manages_all(managed: Runs):
    status = managed.wait("queueless", waits_for("Inadmissible", "set spec.scheduling.cpuQueueName"))
    assert (status["phase"], status["currentStep"]["stage"]) == ("Queued", "Prepare")
    managed.patch("queueless", scheduling={"cpuQueueName": "cpus"})
    status = managed.wait_for_end("queueless")
    assert (status["phase"], attempts(status)) == ("Succeeded", [("Prepare", 1), ("Train", 0), ("Evaluate", 0)])


def test_a_run_with_both_queues_goes_to_its_end_where_kueue_manages_all(managed: Runs):
    status = managed.wait_for_end("queued")
    assert (status["phase"], attempts(status)) == ("Succeeded", [("Prepare", 0), ("Train", 0), ("Evaluate", 0)])


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("Pending", "Queued", "admission check capacity is Pending: no node of this kind"),
        ("Retry", "Queued", "admission check capacity is Retry: no node of this kind"),
        ("Rejected", "Deactivated", "due to Admission check(s): capacity, were rejected"),
    ],
)
def test_fault_65_an_admission_check_is_named_with_what_became_of_it(
    kueue: tuple[Kueue, Runs], state: str, reason: str, words: str
):
    controller, runs = kueue
    name = f"check-{state.lower()}"
    runs.wait(name, waits_for("Queued", "admission check capacity is Pending"))
    workload = workload_of(runs, name)["metadata"]["name"]
    controller.answer_check(TEAM, workload, "capacity", state, "no node of this kind")
    if state == "Rejected":
        wait_until("Kueue's conclusion", lambda: bool(condition(workload_of(runs, name)["status"], "Evicted")), [])
    runs.touch(name)  # it looks by itself, too, and ever less often
    status = runs.wait(name, waits_for(reason, words))
    assert status["phase"] == "Queued"


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


@pytest.mark.turns("storms")
def test_fault_18_a_preempted_training_ends_with_the_same_adapter_as_a_calm_one(
    kueue: tuple[Kueue, Runs], platform: Platform
):
    platform.prepare_namespace(REAL)
    kueue[0].apply(*(local_queue(name, REAL) for name in ("calm", "contested")))
    platform.apply(REAL, real_run(platform, "calm", "calm"))
    platform.apply(REAL, real_run(platform, "preempted", "contested"))
    platform.wait(REAL, "preempted", is_training)
    log = ["logs", "-n", REAL, "-l", "llm2llm.dev/run=preempted,llm2llm.dev/stage=train", "--tail=-1"]
    wait_until("a checkpoint", lambda: '"checkpoint"' in platform.cluster.kubectl(*log, check=False), [])
    platform.apply(REAL, rival())
    platform.wait(REAL, "preempted", lambda status: status["currentStep"].get("requeues") == 1)
    platform.cluster.kubectl("delete", "job", "rival", "-n", REAL)
    wait_until("the training to go on", lambda: "resumedFrom" in platform.cluster.kubectl(*log, check=False), [])
    calm, preempted = (platform.wait_for_end(REAL, name) for name in ("calm", "preempted"))
    assert (preempted["phase"], attempts(preempted)) == ("Succeeded", [("Prepare", 0), ("Train", 0), ("Evaluate", 0)])
    assert adapter(preempted) == adapter(calm)


def real_run(platform: Platform, name: str, queue: str) -> Document:
    """The example's first iteration on the node that trains really, in a queue, at the lowest priority."""
    document = platform.manifest(name, maxIterations=1)
    spec = document["spec"]
    spec["scheduling"] = {"queueName": queue, "workloadPriorityClassName": "low"}
    spec["podOverrides"] = {
        "nodeSelector": {"kubernetes.io/hostname": NODE_NAME},
        "tolerations": [{"key": TRAINS, "operator": "Exists"}],
    }
    spec["data"]["evaluation"] = {"uri": f"s3://{BUCKET}/keyword/few.jsonl"}
    # long enough to be preempted in the middle of it on any machine
    spec["train"] |= asks() | {"minSteps": 600, "checkpoint": {"intervalSeconds": 1}}
    return document


def rival() -> Document:
    """A Job that takes the contested quota."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "rival",
            "namespace": REAL,
            "labels": {"kueue.x-k8s.io/queue-name": "contested", "kueue.x-k8s.io/priority-class": "high"},
        },
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "schedulerName": "nobody",
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [
                        {
                            "name": "rival",
                            "image": "none",
                            "resources": asks()["resources"],
                            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        }
                    ],
                }
            }
        },
    }


def adapter(status: Document) -> str:
    """Digest of what the first training wrote."""
    return next(str(step["digest"]) for step in status["iterations"][0]["steps"] if step["stage"] == "Train")


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
