"""Whole runs on the real control plane: real Jobs, real training, a real teacher over HTTP, the chart's own roles."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.cluster.faultrules import Match
from tests.cluster.fixtures import RunningCluster
from tests.e2e.conftest import job_names
from tests.support.archives import unpacked
from tests.support.install import OperatorProcess
from tests.support.platform import Platform
from tests.support.rights import OPERATOR_USER
from tests.support.teacher import KEY

from llm2llm.cli.main import main


@pytest.mark.turns("e2e: pods that stop")
def test_kubectl_and_our_commands_show_what_a_user_needs(
    platform: Platform,
    operator: OperatorProcess,
    team: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("KUBECONFIG", str(platform.cluster.kubeconfig))
    document = platform.manifest(maxIterations=1)
    document["spec"]["train"]["minSteps"] = 600
    platform.apply(team, document)
    platform.wait(team, "keyword", lambda s: s.get("currentStep", {}).get("stage") == "Train"
                  and s["currentStep"]["state"] == "Running")  # fmt: skip
    assert main(["bundle", "keyword", "-n", team, "--file", str(tmp_path / "b.tar.gz")]) == 0
    assert "not readable" not in capsys.readouterr().out
    files = unpacked(tmp_path / "b.tar.gz")
    assert {"run.yaml", "jobs.yaml", "pods.yaml", "events.yaml", "versions.yaml"} <= files.keys()
    assert any(path.startswith("logs/keyword") for path in files)
    assert KEY not in "".join(files.values())
    assert main(["logs", "keyword", "-n", team, "-s", "Train", "-f"]) == 0
    shown = capsys.readouterr()
    assert '"loss":' in shown.out
    assert "Train of iteration 0, attempt 0" in shown.err
    assert main(["watch", "keyword", "-n", team]) == 0
    watched = capsys.readouterr().out
    assert "keyword is Running, Evaluate of iteration 0" in watched
    assert ": Evaluate of iteration 0, attempt 0\n" in watched
    assert "keyword is Succeeded" in watched
    waiting = platform.cluster.kubectl("-n", team, "wait", "--for=condition=Complete", "arun/keyword", "--timeout=180s")
    assert "condition met" in waiting
    row = platform.cluster.kubectl("-n", team, "get", "arun", "keyword", "--no-headers").split()
    assert row[:2] == ["keyword", "Succeeded"]
    deadline = time.monotonic() + 60
    while "NoMistakes" not in (  # after so many steps
        events := platform.cluster.kubectl("-n", team, "events", "--for", "arun/keyword")
    ):  # it is told once the status has it
        assert time.monotonic() < deadline, events
        time.sleep(1)
    assert "TrainSucceeded" in events
    assert main(["wait", "keyword", "-n", team]) == 0
    assert main(["get", "keyword", "-n", team]) == 0
    told = capsys.readouterr().out
    assert "keyword is Succeeded" in told
    assert "best:      iteration 0, accuracy 0." in told


@pytest.mark.turns("e2e: pods that stop")
def test_fault_19_an_evicted_training_pod_is_replaced_within_its_job_and_the_run_goes_on(
    cluster: RunningCluster, platform: Platform, operator: OperatorProcess, team: str
):
    document = platform.manifest(maxIterations=1)
    document["spec"]["train"] |= {"checkpoint": {"intervalSeconds": 1, "keep": 2}, "minSteps": 1000}
    platform.apply(team, document)
    platform.wait(team, "keyword", lambda s: s.get("currentStep", {}).get("stage") == "Train"
                  and s["currentStep"]["state"] == "Running")  # fmt: skip
    time.sleep(3)
    cluster.faults.evict(Match(namespace=team))
    status = platform.wait_for_end(team)
    assert status["phase"] == "Succeeded", status
    assert job_names(platform.writes(OPERATOR_USER, team)) == ["i000-evaluate-a0", "i000-train-a0", "prepare-a0"]
    assert _pods_created(platform, team) == 4  # one each for Prepare and Evaluate, two for Train


def _pods_created(platform: Platform, namespace: str) -> int:
    writes = platform.writes("system:serviceaccount:kube-system:job-controller", namespace)
    return sum((write["verb"], write["resource"]) == ("create", "pods") for write in writes)


def test_fault_13_a_run_that_is_deleted_in_flight_takes_its_jobs_along(
    platform: Platform, operator: OperatorProcess, team: str
):
    platform.apply(team, platform.manifest())
    platform.wait(team, "keyword", lambda s: s.get("currentStep", {}).get("state") == "Running")
    platform.cluster.kubectl("-n", team, "delete", "arun", "keyword", "--wait=true", "--timeout=180s")
    deadline = time.monotonic() + 60
    while platform.cluster.kubectl("-n", team, "get", "jobs,pods", "--no-headers"):
        assert time.monotonic() < deadline, "Jobs or pods are left"
        time.sleep(0.5)
    created = job_names(platform.writes(OPERATOR_USER, team))
    time.sleep(3)
    assert job_names(platform.writes(OPERATOR_USER, team)) == created


@pytest.mark.turns("e2e: pods that stop")
def test_suspending_stops_the_pod_and_resuming_goes_on_from_its_checkpoint(
    platform: Platform, operator: OperatorProcess, team: str
):
    document = platform.manifest(maxIterations=1)
    document["spec"]["train"]["minSteps"] = 1000  # long enough to be stopped in the middle of it on any machine
    platform.apply(team, document)
    platform.wait(team, "keyword", lambda s: s.get("currentStep", {}).get("stage") == "Train"
                  and s["currentStep"]["state"] == "Running")  # fmt: skip
    time.sleep(3)
    document["spec"]["suspend"] = True
    platform.apply(team, document)
    status = platform.wait(team, "keyword", lambda s: s.get("phase") == "Suspended", timeout=180)
    assert "suspend" in status["message"]
    assert "train" not in platform.cluster.kubectl("-n", team, "get", "jobs,pods", "--no-headers")
    document["spec"]["suspend"] = False
    platform.apply(team, document)
    status = platform.wait_for_end(team)
    assert status["phase"] == "Succeeded", status
    assert "i000-train-a1" in job_names(platform.writes(OPERATOR_USER, team))
