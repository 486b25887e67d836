"""One pod of a run at a time (rule C7), with a step that does not stop when it is told to."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.cluster.faultrules import Match
from tests.cluster.fixtures import RunningCluster
from tests.support.install import OperatorProcess
from tests.support.platform import Platform


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((c for c in status["conditions"] if c["type"] == kind), {})


def training(status: dict[str, Any], attempt: int = 0) -> bool:
    wanted = {"stage": "Train", "state": "Running", "attempt": attempt}
    return wanted.items() <= status.get("currentStep", {}).items()


def pods(platform: Platform, team: str) -> set[str]:
    """Pods of trainings that are not over."""
    listed = platform.cluster.kubectl(
        "-n",
        team,
        "get",
        "pods",
        "-l",
        "llm2llm.dev/stage=train",
        "--field-selector=status.phase=Running",
        "-o",
        "name",
    )
    return {name.removeprefix("pod/") for name in listed.split()}


def manifest(platform: Platform, **train: Any) -> dict[str, Any]:
    """A training of a minute, whose pods have three seconds to stop."""
    document = platform.manifest(maxIterations=1, podOverrides={"terminationGracePeriodSeconds": 3})
    document["spec"]["train"] |= {"minSteps": 4000, **train}
    return document


@pytest.mark.turns("e2e: pods that stop")
def test_suspending_waits_for_a_pod_that_does_not_stop_and_says_for_which(
    cluster: RunningCluster, platform: Platform, operator: OperatorProcess, team: str
):
    document = manifest(platform)
    platform.apply(team, document)
    platform.wait(team, "keyword", training)
    [stubborn] = pods(platform, team)
    with cluster.faults.stuck_terminating(Match(namespace=team), keep_running=True):
        platform.apply(team, {**document, "spec": {**document["spec"], "suspend": True}})
        status = platform.wait(team, "keyword", lambda s: condition(s, "Progressing").get("reason") == "Suspending")
        assert stubborn in status["message"]
        time.sleep(6)  # twice its grace
        status = platform.run(team)["status"]
        assert status["phase"] != "Suspended"
        assert pods(platform, team) == {stubborn}
        platform.apply(team, document)  # the user has second thoughts: nothing begins beside it all the same
        time.sleep(3)
        assert pods(platform, team) == {stubborn}
        platform.apply(team, {**document, "spec": {**document["spec"], "suspend": True}})
    status = platform.wait(team, "keyword", lambda s: s.get("phase") == "Suspended", timeout=180)
    assert pods(platform, team) == set()
    platform.cluster.kubectl("-n", team, "delete", "arun", "keyword")


@pytest.mark.turns("e2e: pods that stop")
def test_fault_26_a_deadline_does_not_wait_and_names_what_is_left_and_a_retry_waits_for_it(
    cluster: RunningCluster, platform: Platform, operator: OperatorProcess, team: str
):
    document = manifest(platform, activeDeadlineSeconds=4)
    platform.apply(team, document)
    platform.wait(team, "keyword", training)
    [stubborn] = pods(platform, team)
    with cluster.faults.stuck_terminating(Match(namespace=team), keep_running=True):
        status = platform.wait_for_end(team, timeout=180)
        assert condition(status, "Failed")["reason"] == "DeadlineExceeded"
        assert stubborn in status["message"]
        document["spec"] |= {"retry": 1}
        document["spec"]["train"].pop("activeDeadlineSeconds")
        platform.apply(team, document)
        status = platform.wait(
            team, "keyword", lambda s: condition(s, "Progressing").get("reason") == "PodStuckTerminating", timeout=180
        )
        assert stubborn in status["message"]
        time.sleep(5)
        assert pods(platform, team) == {stubborn}
    platform.wait(team, "keyword", lambda s: training(s, attempt=1), timeout=180)
    assert stubborn not in pods(platform, team)
    platform.cluster.kubectl("-n", team, "delete", "arun", "keyword")
