"""What can happen to a run's Jobs, pods and namespace, and what the run then says and does.

One operator serves all of them, side by side.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.jsonlines import read_json_lines
from tests.support import builders
from tests.support.install import RELEASE, SYSTEM, OperatorProcess
from tests.support.podender import Ending, PodEnder, succeed
from tests.support.runs import MERGE_PATCH, Document, Runs, condition
from tests.support.webhook import Webhook

from llm2llm.records import Kind, Report, Stage, StepDocument

TEAM, WITH_WEBHOOK, ENDING = "faults", "faults-webhook", "faults-ending"
OPERATOR_USER = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
_pods: Counter[tuple[str, str]] = Counter()
"""Pods of trainings so far, by the UID of the run."""


def play(step: StepDocument) -> Ending:
    """The run's name says what its trainings do."""
    honest = succeed(step)
    if step.stage is not Stage.TRAIN:
        return honest
    _pods[step.run, step.run_uid] += 1
    first_pod = _pods[step.run, step.run_uid] == 1
    match step.run:
        case "deleted-job" if step.kind is Kind.COLLECT:
            return Ending(exit_code=75, message="nothing is committed")
        case "deleted-job" | "held-back" if first_pod:
            return Ending(seconds=math.inf)
        case "again" if _pods["again", step.run_uid] == sum(n for (run, _), n in _pods.items() if run == "again"):
            return Ending(seconds=math.inf)  # the first run of this name
        case "host-memory":
            return Ending(exit_code=137, reason="OOMKilled")
        case "gpu-memory" | "gpu-too-small":
            tried = step.micro_batch or 4
            if tried > 1 or step.run == "gpu-too-small":
                report = Report(run_uid=step.run_uid, stage=step.stage, exit_code=69, micro_batch=tried)
                return Ending(exit_code=69, message=report.to_termination_message())
        case "in-a-namespace-that-ends":
            return Ending(seconds=math.inf)
    return honest


@pytest.fixture(scope="module")
def operator(api: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    for namespace in (TEAM, WITH_WEBHOOK, ENDING):
        api.create_namespace(namespace)
    folder: Path = tmp_path_factory.mktemp("operator")
    environment = {"LLM2LLM_NAMESPACES": f"{TEAM},{WITH_WEBHOOK},{ENDING}", "LLM2LLM_LOG_FORMAT": "json"}
    with PodEnder(api, seconds=0.3, script=play), OperatorProcess(api, folder, environment=environment) as process:
        yield process
    for namespace in (TEAM, WITH_WEBHOOK):
        api.request("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.fixture(scope="module")
def team(api: Cluster, operator: OperatorProcess) -> Runs:
    """Runs that need nobody are on their way from the start."""
    runs = Runs(api, TEAM)
    for name in ("again", "deleted-job", "held-back", "gpu-memory", "gpu-too-small"):
        runs.create(name, maxIterations=1)
    runs.create("host-memory", maxIterations=1, retries={"transient": 1})
    return runs


def in_state(stage: str, state: str, attempt: int = 0) -> Callable[[Document], bool]:
    wanted = {"stage": stage, "state": state, "attempt": attempt}
    return lambda status: wanted.items() <= (status.get("currentStep") or {}).items()


def training_job(runs: Runs, name: str) -> str:
    """Path of the Job that trains."""
    job = runs.wait(name, in_state("Train", "Running"))["currentStep"]["jobName"]
    return f"/apis/batch/v1/namespaces/{runs.namespace}/jobs/{job}"


def trainings(status: Document) -> list[Document]:
    return [step for row in status["iterations"] for step in row["steps"] if step["stage"] == "Train"]


def test_fault_15_a_run_that_is_created_again_under_its_name_starts_anew_with_jobs_of_its_own(team: Runs):
    old = training_job(team, "again")
    team.delete("again")
    uid = team.create("again", maxIterations=1)["metadata"]["uid"]
    status = team.wait_for_end("again")
    assert status["phase"] == "Succeeded"
    assert status["usage"]["teacherRequests"] == 1  # its own Prepare's
    own = [job["metadata"] for job in team.jobs("again") if job["metadata"]["labels"]["llm2llm.dev/run-uid"] == uid]
    assert own
    assert old.rsplit("/", 1)[1] not in {metadata["name"] for metadata in own}


def test_fault_17_a_job_that_a_person_deletes_is_collected_first_and_then_done_again(team: Runs):
    job = training_job(team, "deleted-job")
    team.cluster.request("DELETE", job, {"propagationPolicy": "Background"})
    status = team.wait_for_end("deleted-job")
    assert status["phase"] == "Succeeded"
    assert [(step["attempt"], step["kind"]) for step in trainings(status)] == [(2, "Run")]  # 1 was Collect


def test_fault_18_a_job_that_is_suspended_waits_in_its_queue_and_goes_on_as_the_same_attempt(team: Runs):
    job = training_job(team, "held-back")
    team.cluster.request("PATCH", job, {"spec": {"suspend": True}}, content_type=MERGE_PATCH)
    status = team.wait("held-back", lambda status: status.get("phase") == "Queued")
    assert "suspended" in status["message"]
    assert not status.get("activeSince")  # its clock stands
    time.sleep(2)
    assert team.cluster.request("GET", job)["spec"]["suspend"] is True  # nobody of ours let it go
    team.cluster.request("PATCH", job, {"spec": {"suspend": False}}, content_type=MERGE_PATCH)
    status = team.wait_for_end("held-back")
    assert status["phase"] == "Succeeded"
    assert [step["attempt"] for step in trainings(status)] == [0]


def test_fault_20_running_out_of_host_memory_is_tried_again_and_then_fails_with_advice(team: Runs):
    status = team.wait_for_end("host-memory")
    assert condition(status, "Failed")["reason"] == "OutOfMemory"
    assert "raise its resources.limits.memory" in status["message"]
    assert "spec.retry" in status["message"]
    assert status["currentStep"]["attempt"] == 1


def test_fault_21_running_out_of_gpu_memory_halves_the_micro_batch_until_it_fits(team: Runs):
    status = team.wait_for_end("gpu-memory")
    assert status["phase"] == "Succeeded"
    assert [step["attempt"] for step in trainings(status)] == [2]  # 4, 2, 1


def test_fault_21_where_one_row_does_not_fit_the_run_fails_and_says_what_to_change(team: Runs):
    status = team.wait_for_end("gpu-too-small")
    assert condition(status, "Failed")["reason"] == "OutOfMemory"
    assert "maxLength" in status["message"]
    assert (status["currentStep"]["attempt"], status["currentStep"]["microBatch"]) == (2, 1)


def test_fault_14_in_a_namespace_that_ends_the_operator_is_quiet(api: Cluster, operator: OperatorProcess):
    """A finalizer of somebody else's holds the run, and so the namespace."""
    name = "in-a-namespace-that-ends"
    runs = Runs(api, ENDING)
    path = f"/apis/llm2llm.dev/v1alpha1/namespaces/{ENDING}/augmentationruns"
    body = {"metadata": {"name": name, "finalizers": ["example.com/backup"]}, "spec": builders.spec(maxIterations=1)}
    api.request("POST", path, {"apiVersion": "llm2llm.dev/v1alpha1", "kind": "AugmentationRun", **body})
    runs.wait(name, in_state("Train", "Running"))
    api.request("DELETE", f"/api/v1/namespaces/{ENDING}")
    deadline = time.monotonic() + 30
    while runs.jobs():
        assert time.monotonic() < deadline, "the Jobs stay"
        time.sleep(0.2)
    until_quiet(api, ENDING)
    about = [entry for entry in operator.log_entries() if name in str(entry)]
    assert [line for line in about if line["level"] != "info"] == []
    api.request("PATCH", f"{path}/{name}", {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)


def until_quiet(api: Cluster, namespace: str) -> None:
    """Waits for three seconds without a request: on a busy machine the operator hears of the end a little later."""
    deadline = time.monotonic() + 30
    while True:
        since = api.audit_log.stat().st_size
        time.sleep(3)
        verbs = [entry["verb"] for entry in asked(api, since) if entry["objectRef"].get("namespace") == namespace]
        if not verbs:
            return
        assert time.monotonic() < deadline, verbs


def asked(api: Cluster, since: int) -> list[dict[str, Any]]:
    """The operator's requests that are no watches, from this place of the audit log on."""
    entries = read_json_lines(api.audit_log, since)
    ours = [entry for entry in entries if entry["user"]["username"] == OPERATOR_USER and "objectRef" in entry]
    return [entry for entry in ours if entry["verb"] not in ("watch", "list")]


def test_fault_27_a_webhook_that_is_away_or_denies_is_told_and_waited_for(
    api: Cluster, operator: OperatorProcess, tmp_path: Path
):
    runs = Runs(api, WITH_WEBHOOK)
    with Webhook(api, WITH_WEBHOOK, tmp_path) as webhook:
        time.sleep(1)  # the API server learns of it by a watch
        runs.create("x", maxIterations=1)
        status = runs.wait("x", lambda status: condition(status, "Progressing").get("status") == "False", timeout=180)
        told = condition(status, "Progressing")
        assert (told["reason"], "failed calling webhook" in told["message"]) == ("WebhookUnavailable", True)
        assert (status["phase"], runs.jobs()) == ("Pending", [])
        webhook.denies = "team-a has no budget left"
        webhook.start()
        status = runs.wait(
            "x", lambda status: condition(status, "Progressing").get("reason") == "WebhookDenied", timeout=180
        )
        told = condition(status, "Progressing")
        assert "team-a has no budget left" in told["message"]
        assert events(api, WITH_WEBHOOK, "WebhookDenied") == 1
        time.sleep(1.1)
        runs.patch("x", maxDisruptions=21)  # another pass, another refusal: the condition stands, nothing is told again
        generation = runs.get("x")["metadata"]["generation"]
        status = runs.wait("x", lambda status: status["observedGeneration"] == generation)
        time.sleep(1)
        assert condition(runs.status("x"), "Progressing")["lastTransitionTime"] == told["lastTransitionTime"]
        assert events(api, WITH_WEBHOOK, "WebhookDenied") == 1
        webhook.denies = ""
        runs.patch("x", maxDisruptions=22)  # else it is tried again after a minute
        assert runs.wait_for_end("x")["phase"] == "Succeeded"


def events(api: Cluster, namespace: str, reason: str) -> int:
    found = api.request("GET", f"/api/v1/namespaces/{namespace}/events?fieldSelector=reason={reason}")
    return len(found["items"])
