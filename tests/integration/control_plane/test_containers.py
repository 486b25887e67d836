"""A pod is more than the container `step`: what stands beside it or before it, and what a kubelet says of the whole pod.

Nobody injects anything here: the node writes the statuses that a kubelet writes for a pod that somebody's admission
webhook has changed. All runs go side by side under one operator; each test looks at its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.processes import wait_until
from tests.support.install import OperatorProcess
from tests.support.podender import Ending, PodEnder, container_status, report_of, succeed
from tests.support.runs import Document, Runs, condition

from llm2llm.records import Stage, StepDocument

PROXY = "istio-proxy"
SECRETIVE = "\x1b[31mtext that a terminal would act on\x1b[0m"
STARTED = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
WAITS = container_status("step", {"waiting": {"reason": "PodInitializing"}})
REFUSAL = {
    "phase": "Failed",
    "reason": "UnexpectedAdmissionError",
    "message": "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices "
    "nvidia.com/gpu, which is unexpected",
}
EVICTION = {
    "reason": "Evicted",
    "message": "The node was low on resource: memory. Threshold quantity: 100Mi, available: 64Mi.",
    "conditions": [
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": "The node was low on resource: memory.",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
}


def init(name: str, state: Document, **fields: Any) -> Document:
    """A pod whose init container is in this state, so that the step waits."""
    return {"phase": "Pending", "initContainerStatuses": [container_status(name, state, **fields)], "containerStatuses": [WAITS]}  # fmt: skip


def crashed(name: str) -> Document:
    last = {"terminated": {"exitCode": 1, "reason": "Error", "message": "no route to istiod"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
    return init(name, waiting, lastState=last)


FAILED_INIT = {
    **init("istio-init", {"terminated": {"exitCode": 255, "reason": "Error", "message": f"iptables: {SECRETIVE}"}}),
    "phase": "Failed",
}
HINDERED: dict[str, tuple[Document, str, str]] = {
    "crashing": (crashed("vault-agent"), "CrashLoopBackOff", "init container vault-agent: exit code 1, Error: no route to istiod"),
    "unpulled": (init("istio-init", {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image istio/x"}}),
                 "ImagePullBackOff", "init container istio-init: Back-off pulling image istio/x"),
    "hanging": (init("istio-init", STARTED), "PodInitializing", "waits for init container istio-init"),
    "invented": (init("istio-init", {"waiting": {"reason": "Pwned", "message": SECRETIVE}}),
                 "ClusterWarning", "init container istio-init: text that a terminal would act on"),
}  # fmt: skip
"""What the pod of Prepare says before it starts, and what its run then says."""


def failure(step: StepDocument, code: int) -> Ending:
    report = report_of(step).model_copy(update={"exit_code": code, "message": f"ended with {code}", "micro_batch": 8})
    return Ending(exit_code=code, message=report.to_termination_message(), beside=PROXY)


def strangers_report(step: StepDocument) -> Ending:
    report = report_of(step).model_copy(update={"run_uid": "00000000-0000-0000-0000-000000000000"})
    return Ending(message=report.to_termination_message(), beside=PROXY)


def clumsy(step: StepDocument) -> Ending:
    """What is beside the step ends after it, with a failure of its own."""
    honest = succeed(step)
    ended = {"terminated": {"exitCode": 0, "message": honest.message, "reason": "Completed"} | times()}
    other = {"terminated": {"exitCode": 1, "reason": "Error"} | times()}
    statuses = [container_status("step", ended), container_status(PROXY, other)]
    return Ending(message=honest.message, after={"phase": "Failed", "containerStatuses": statuses})


def once(step: StepDocument, ending: Ending) -> Ending:
    """How the first pod of an attempt ends; the next one ends well."""
    if step.run in ENDED_ONCE:
        return succeed(step)
    ENDED_ONCE.append(step.run)
    return ending


ENDED_ONCE: list[str] = []
PREPARE: dict[str, Callable[[StepDocument, str], Ending]] = {
    "init": lambda _, __: Ending(before=FAILED_INIT),
    "hindered": lambda _, what: Ending(before=HINDERED[what][0], waits=math.inf),
}
TRAIN: dict[str, Callable[[StepDocument, str], Ending]] = {
    "code": lambda step, what: failure(step, int(what)),
    "liar": lambda _, __: Ending(message="no report at all", beside=PROXY),
    "stranger": lambda step, _: strangers_report(step),
    "refused": lambda _, __: Ending(before=REFUSAL),
    "evicted": lambda step, _: once(step, Ending(exit_code=137, after=EVICTION, seconds=2)),
    "drained": lambda step, _: once(step, Ending(seconds=math.inf)),
    "restarted": lambda step, _: Ending(message=succeed(step).message, beside=PROXY, seconds=3),
}
ALL: dict[str, Callable[[StepDocument], Ending]] = {
    "beside": lambda step: Ending(message=succeed(step).message, beside=PROXY),
    "native": lambda step: Ending(message=succeed(step).message, beside=PROXY, native=True),
    "clumsy": clumsy,
}


def play(step: StepDocument) -> Ending:
    """The run's name says what its pods do: each attempt of Prepare, the first of a training, or all."""
    kind, _, what = step.run.partition("-")
    if step.stage is Stage.PREPARE and kind in PREPARE:
        return PREPARE[kind](step, what)
    if step.stage is Stage.TRAIN and step.attempt == 0 and kind in TRAIN:
        return TRAIN[kind](step, what)
    return ALL.get(kind, succeed)(step)


SPECS: dict[str, Document] = {
    **{f"code-{code}": {"retries": {"transient": 1}} for code in (65, 67, 69, 75)},
    "refused": {"retries": {"transient": 0}},
    "init": {"retries": {"transient": 1}},
    "nobody": {"podOverrides": {"schedulerName": "nobody"}},
    "gated": {"podOverrides": {"schedulerName": "nobody"}},
}
NAMES = ["beside", "native", "liar", "stranger", "clumsy", "evicted", "drained", "honest", *SPECS]
NAMES += [f"hindered-{what}" for what in HINDERED]


def times() -> Document:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"startedAt": now, "finishedAt": now}


@pytest.fixture(scope="module")
def team(api: Cluster) -> Iterator[Runs]:
    api.create_namespace("containers")
    yield Runs(api, "containers")
    api.request("DELETE", "/api/v1/namespaces/containers")


@pytest.fixture(scope="module")
def operator(api: Cluster, team: Runs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    folder: Path = tmp_path_factory.mktemp("operator")
    with (
        PodEnder(api, seconds=0.2, script=play),
        OperatorProcess(api, folder, environment={"LLM2LLM_NAMESPACES": team.namespace}) as process,
    ):
        for name in NAMES:
            team.create(name, **{"maxIterations": 1, **SPECS.get(name, {})})
        yield process


@pytest.fixture
def crowd(operator: OperatorProcess, team: Runs) -> Runs:
    """All runs, under one operator."""
    return team


def ledger(status: Document) -> list[tuple[str, int, str]]:
    steps = [*status["steps"], *(step for row in status["iterations"] for step in row["steps"])]
    return [(step["stage"], step["attempt"], step["kind"]) for step in steps]


def says(runs: Runs, name: str, reason: str) -> Document:
    """Waits until the run makes no progress for this reason."""

    def waits(status: Document) -> bool:
        progressing = condition(status, "Progressing")
        return (progressing.get("status"), progressing.get("reason")) == ("False", reason)

    return runs.wait(name, waits)


def live_jobs(runs: Runs, name: str) -> list[str]:
    """Jobs that have not ended and that nobody deletes: what would hold a node for ever."""
    return [
        job["metadata"]["name"]
        for job in runs.jobs(name)
        if "deletionTimestamp" not in job["metadata"] and not job.get("status", {}).get("conditions")
    ]


def pods(runs: Runs, name: str) -> list[Document]:
    path = f"/api/v1/namespaces/{runs.namespace}/pods?labelSelector=llm2llm.dev%2Frun%3D{name}"
    return list(runs.cluster.request("GET", path)["items"])


def test_fault_61_a_step_that_ends_beside_a_container_that_runs_on_is_recorded_and_its_job_ended(crowd: Runs) -> None:
    status, honest = crowd.wait_for_end("beside"), crowd.wait_for_end("honest")
    assert status["phase"] == "Succeeded", status["message"]
    assert ledger(status) == ledger(honest) == [("Prepare", 0, "Run"), ("Train", 0, "Run"), ("Evaluate", 0, "Run")]
    for field in ("best", "summary", "usage"):
        assert status[field] == honest[field]
    assert live_jobs(crowd, "beside") == []
    messages = [event["message"] for event in crowd.events("beside") if event["reason"] == "TrainSucceeded"]
    assert ["container istio-proxy runs on" in message for message in messages] == [True]
    wait_until("the end of its pods", lambda: not pods(crowd, "beside"), [])


def test_fault_61_a_native_sidecar_is_left_to_the_kubelet_and_the_job_ends_by_itself(crowd: Runs) -> None:
    status = crowd.wait_for_end("native")
    assert ledger(status) == [("Prepare", 0, "Run"), ("Train", 0, "Run"), ("Evaluate", 0, "Run")]
    assert [job["metadata"]["name"].rsplit("-", 2)[1] for job in crowd.jobs("native")] == ["evaluate"]
    assert not [event for event in crowd.events("native") if "runs on" in event["message"]]


def test_fault_61_a_step_that_ended_beside_a_container_while_no_operator_ran_is_found_and_counted_once(
    api: Cluster, runs: Runs, tmp_path: Path
) -> None:
    environment = {"LLM2LLM_NAMESPACES": runs.namespace}
    with PodEnder(api, seconds=0.2, script=play, node="of-restarted"):
        with OperatorProcess(api, tmp_path, environment=environment) as operator:
            runs.create("restarted", maxIterations=1)
            runs.wait("restarted", lambda status: (status.get("currentStep") or {}).get("stage") == "Train")
            operator.kill()
        wait_until("the end of the training", lambda: any(is_outlived(pod) for pod in pods(runs, "restarted")), [])
        with OperatorProcess(api, tmp_path / "second", environment=environment):
            status = runs.wait_for_end("restarted")
    assert ledger(status) == [("Prepare", 0, "Run"), ("Train", 0, "Run"), ("Evaluate", 0, "Run")]
    assert status["usage"]["teacherRequests"] == 1


def is_outlived(pod: Document) -> bool:
    states = {one["name"]: one["state"] for one in pod["status"].get("containerStatuses", [])}
    is_training = pod["metadata"]["labels"]["llm2llm.dev/stage"] == "train"
    return is_training and "terminated" in states.get("step", {}) and "running" in states.get(PROXY, {})


@pytest.mark.parametrize(
    ("code", "phase", "kind", "reason"),
    [(65, "Failed", "Failed", "InvalidData"), (67, "Suspended", "Suspended", "TeacherQuotaExhausted")],
)
def test_fault_61_a_failure_beside_a_container_that_runs_on_is_told_at_once_and_the_job_ended(
    crowd: Runs, code: int, phase: str, kind: str, reason: str
) -> None:
    status = crowd.wait(f"code-{code}", lambda status: status.get("phase") == phase)
    assert condition(status, kind)["reason"] == reason
    assert f"ended with {code}" in status["message"]
    assert (status["currentStep"]["stage"], status["currentStep"]["attempt"]) == ("Train", 0)
    assert live_jobs(crowd, f"code-{code}") == []


@pytest.mark.parametrize("code", [69, 75])
def test_fault_61_a_step_that_fails_beside_a_container_that_runs_on_is_tried_again(crowd: Runs, code: int) -> None:
    status = crowd.wait_for_end(f"code-{code}")
    assert status["phase"] == "Succeeded", status["message"]
    trained = status["iterations"][0]["steps"][0]
    assert (trained["stage"], trained["attempt"]) == ("Train", 1)
    assert trained.get("microBatch", 0) == (4 if code == 69 else 0)


@pytest.mark.parametrize("name", ["liar", "stranger"])
def test_fault_61_a_report_beside_a_container_that_runs_on_is_checked_like_any_other(crowd: Runs, name: str) -> None:
    status = crowd.wait_for_end(name)
    assert status["phase"] == "Succeeded", status["message"]
    assert ledger(status)[1] == ("Train", 1, "Collect")


def test_fault_61_a_container_that_fails_after_the_step_has_succeeded_makes_no_failure_of_it(crowd: Runs) -> None:
    status = crowd.wait_for_end("clumsy")
    assert ledger(status) == [("Prepare", 0, "Run"), ("Train", 0, "Run"), ("Evaluate", 0, "Run")]


def test_fault_61_an_init_container_that_fails_is_named_with_its_words(crowd: Runs) -> None:
    status = crowd.wait_for_end("init")
    assert condition(status, "Failed")["reason"] == "StepFailed"
    words = "init container istio-init failed (exit code 255, Error: iptables: text that a terminal would act on)"
    assert words in status["message"]
    assert "spec.retry" in status["message"]


@pytest.mark.parametrize("what", HINDERED)
def test_fault_61_what_keeps_the_step_from_starting_is_told_within_a_minute(crowd: Runs, what: str) -> None:
    _, reason, words = HINDERED[what]
    status = says(crowd, f"hindered-{what}", reason)
    assert words in status["message"]
    assert "\x1b" not in status["message"]
    written = crowd.get(f"hindered-{what}")["metadata"]["resourceVersion"]
    time.sleep(3)
    assert crowd.get(f"hindered-{what}")["metadata"]["resourceVersion"] == written  # and waiting costs no writes


def test_fault_61_a_scheduler_that_nobody_runs_is_told(crowd: Runs) -> None:
    status = says(crowd, "nobody", "NoScheduler")
    assert "no scheduler 'nobody' has taken pod" in status["message"]
    assert "check spec.podOverrides.schedulerName" in status["message"]


def test_fault_61_a_scheduling_gate_is_told(crowd: Runs) -> None:
    wait_until("a pod", lambda: bool(pods(crowd, "gated")), [])
    name = pods(crowd, "gated")[0]["metadata"]["name"]
    gate = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    gate["message"] = "Scheduling is blocked due to non-empty scheduling gates"
    crowd.cluster.request(
        "PATCH",
        f"/api/v1/namespaces/{crowd.namespace}/pods/{name}/status",
        {"status": {"conditions": [gate]}},
        content_type="application/strategic-merge-patch+json",
    )
    assert gate["message"] in says(crowd, "gated", "SchedulingGated")["message"]


def test_fault_61_a_pod_that_a_kubelet_refuses_costs_no_retry_and_is_tried_again_a_minute_later(crowd: Runs) -> None:
    status = crowd.wait_for_end("refused", timeout=150)
    assert ledger(status)[1] == ("Train", 1, "Run")
    [refused] = [event for event in crowd.events("refused") if event["reason"] == "TrainRetried"]
    assert f"{REFUSAL['reason']}: {REFUSAL['message']}" in refused["message"]
    began = datetime.fromisoformat(status["iterations"][0]["steps"][0]["startTime"])
    pause = began - datetime.fromisoformat(refused["firstTimestamp"])
    assert pause > timedelta(seconds=55)  # tested at whatever time: the shortest pause, and not how long it took


def test_fault_61_an_eviction_is_told_in_the_kubelets_words(crowd: Runs) -> None:
    status = crowd.wait_for_end("evicted")
    assert ledger(status)[1] == ("Train", 0, "Run")
    [event] = [event for event in crowd.events("evicted") if event["reason"] == "TrainDisrupted"]
    assert f"Evicted: {EVICTION['message']}" in event["message"]


def test_fault_61_an_eviction_over_the_api_is_told_in_its_words(crowd: Runs) -> None:
    crowd.wait("drained", lambda status: (status.get("currentStep") or {}).get("stage") == "Train" and
               status["currentStep"]["state"] == "Running")  # fmt: skip
    [pod] = [pod for pod in pods(crowd, "drained") if pod["status"]["phase"] == "Running"]
    name = pod["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    crowd.cluster.request("POST", f"/api/v1/namespaces/{crowd.namespace}/pods/{name}/eviction", body)
    assert crowd.wait_for_end("drained")["phase"] == "Succeeded"
    [event] = [event for event in crowd.events("drained") if event["reason"] == "TrainDisrupted"]
    assert "EvictionByEvictionAPI" in event["message"]
