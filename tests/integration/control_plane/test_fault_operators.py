"""What can happen to operators: two at once, rights that are taken away, an upgrade, a process that hangs, an outage."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.jsonlines import read_json_lines
from tests.support.install import RELEASE, SYSTEM, OperatorProcess
from tests.support.podender import Ending, PodEnder, succeed
from tests.support.runs import Document, Runs, condition

from llm2llm.records import Stage, StepDocument

OPERATOR_USER = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
ROLE = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{RELEASE}"
JSON_PATCH = "application/json-patch+json"
STEPS = ("prepare-a0", "i000-train-a0", "i000-evaluate-a0")


def play(step: StepDocument) -> Ending:
    """Trainings of `upgraded` and `hung` go on until they are told to end."""
    return Ending(seconds=3.0, message=succeed(step).message) if slow(step) else succeed(step)


def slow(step: StepDocument) -> bool:
    return step.stage is Stage.TRAIN and step.run in ("upgraded", "hung")


@pytest.fixture
def start(api: Cluster, runs: Runs, tmp_path: Path) -> Iterator[Callable[..., OperatorProcess]]:
    """Starts operators of the test's namespace."""
    processes: list[OperatorProcess] = []

    def started(name: str = "operator", **environment: str) -> OperatorProcess:
        settings = {"LLM2LLM_NAMESPACES": runs.namespace, **environment}
        processes.append(OperatorProcess(api, tmp_path / name, name=name, environment=settings))
        processes[-1].start()
        return processes[-1]

    with PodEnder(api, seconds=0.3, script=play):
        try:
            yield started
        finally:
            for process in processes:
                print(process.log())
                process.stop()


def created(api: Cluster, namespace: str) -> Counter[str]:
    """Names of Jobs that the API server created for operators."""
    return Counter(
        entry["objectRef"]["name"]
        for entry in writes(api, namespace)
        if (entry["verb"], entry["objectRef"]["resource"], entry["responseStatus"]["code"]) == ("create", "jobs", 201)
    )


def writes(api: Cluster, namespace: str) -> list[dict[str, Any]]:
    """What operators wrote in a namespace, Events aside, from the audit log."""
    return [
        entry
        for entry in read_json_lines(api.audit_log)
        if entry["user"]["username"] == OPERATOR_USER
        and entry["verb"] in ("create", "patch", "delete")
        and entry.get("objectRef", {}).get("namespace") == namespace
        and entry["objectRef"]["resource"] != "events"
    ]


def assert_each_job_once(api: Cluster, runs: Runs, names: list[str]) -> None:
    counts = created(api, runs.namespace)
    assert set(counts.values()) == {1}
    assert len(counts) == len(names) * len(STEPS)


def test_fault_04_two_operators_that_both_believe_to_lead_make_no_job_twice(
    api: Cluster, runs: Runs, start: Callable[..., OperatorProcess]
):
    pair = [start("one"), start("two")]
    names = [f"r{n}" for n in range(6)]
    for name in names:
        runs.create(name, maxIterations=1)
    assert {runs.wait_for_end(name)["phase"] for name in names} == {"Succeeded"}
    assert_each_job_once(api, runs, names)
    assert sum(operator.metrics()["llm2llm_write_conflicts_total",] for operator in pair) > 0


def test_fault_12_rights_that_are_taken_away_are_told_once_and_the_run_goes_on_when_they_are_back(
    api: Cluster, runs: Runs, start: Callable[..., OperatorProcess]
):
    operator = start()
    rules = api.request("GET", ROLE)["rules"]
    without = [
        rule | {"verbs": [v for v in rule["verbs"] if v != "create"]} if "jobs" in rule["resources"] else rule
        for rule in rules
    ]
    api.request("PATCH", ROLE, [{"op": "replace", "path": "/rules", "value": without}], content_type=JSON_PATCH)
    try:
        time.sleep(1)  # the authorizer of the API server learns of it by a watch
        runs.create("x", maxIterations=1)
        status = runs.wait("x", lambda status: condition(status, "Progressing").get("status") == "False")
        runs.patch("x", maxDisruptions=21)  # tried again, refused again
        runs.wait("x", lambda status: status["observedGeneration"] == 2)
    finally:
        api.request("PATCH", ROLE, [{"op": "replace", "path": "/rules", "value": rules}], content_type=JSON_PATCH)
    assert condition(status, "Progressing")["reason"] == "Forbidden"
    assert 'cannot create resource "jobs"' in status["message"]
    assert condition(runs.status("x"), "Failed") == {}
    assert operator.metrics()["llm2llm_api_errors_total", "403"] >= 2
    told = api.request("GET", f"/api/v1/namespaces/{runs.namespace}/events?fieldSelector=reason=Forbidden")["items"]
    assert [(event["type"], event["count"]) for event in told] == [("Warning", 1)]
    time.sleep(1)
    runs.patch("x", maxDisruptions=22)
    assert runs.wait_for_end("x")["phase"] == "Succeeded"


def test_fault_42_an_upgrade_leaves_the_images_and_the_attempt_of_a_run_alone(
    api: Cluster, runs: Runs, start: Callable[..., OperatorProcess]
):
    old = start("old", LLM2LLM_IMAGE_TRAIN="trainer:1", LLM2LLM_IMAGE_EVALUATE="evaluator:1")
    runs.create("upgraded", maxIterations=1)
    runs.wait("upgraded", trains)
    [before] = [job for job in runs.jobs("upgraded") if "train" in job["metadata"]["name"]]
    old.stop()
    start("new", LLM2LLM_IMAGE_TRAIN="trainer:2", LLM2LLM_IMAGE_EVALUATE="evaluator:2")
    runs.wait("upgraded", lambda status: (status.get("currentStep") or {}).get("stage") == "Evaluate", timeout=180)
    jobs = {job["metadata"]["labels"]["llm2llm.dev/stage"]: job for job in runs.jobs("upgraded")}
    assert jobs["evaluate"]["spec"]["template"]["spec"]["containers"][0]["image"] == "evaluator:1"
    assert runs.wait_for_end("upgraded")["phase"] == "Succeeded"
    assert before["spec"]["template"]["spec"]["containers"][0]["image"] == "trainer:1"
    assert_each_job_once(api, runs, ["upgraded"])


def trains(status: Document) -> bool:
    return {"stage": "Train", "state": "Running"}.items() <= (status.get("currentStep") or {}).items()


def test_fault_43_an_operator_that_hangs_is_not_healthy_and_killing_it_costs_nothing(
    api: Cluster, runs: Runs, start: Callable[..., OperatorProcess]
):
    operator = start()
    runs.create("hung", maxIterations=1)
    runs.wait("hung", trains)
    assert operator.child is not None
    assert operator.healthy()
    os.kill(operator.child.pid, signal.SIGSTOP)
    assert not operator.healthy()
    operator.kill()  # as a kubelet does after three such answers
    operator.start()
    assert operator.healthy()
    assert runs.wait_for_end("hung")["phase"] == "Succeeded"
    assert_each_job_once(api, runs, ["hung"])


def test_fault_44_what_became_due_during_an_outage_is_done_once(
    api: Cluster, runs: Runs, start: Callable[..., OperatorProcess]
):
    names = [f"r{n:02}" for n in range(15)]
    for name in names:
        runs.create(name, maxIterations=1)
    start(LLM2LLM_WRITE_RATE="10", LLM2LLM_WRITE_BURST="5")
    assert {runs.wait_for_end(name, timeout=180)["phase"] for name in names} == {"Succeeded"}
    assert_each_job_once(api, runs, names)
