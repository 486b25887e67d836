"""The operator is killed with SIGKILL: the same final state, no Job twice, no teacher request twice."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.fixtures import RunningCluster
from tests.e2e.test_run import OPERATOR_USER, job_names
from tests.support.install import OperatorProcess
from tests.support.platform import Platform


def outcome(status: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on when the operator died: everything but times, UIDs and addresses."""
    return {
        "phase": status["phase"],
        "inputs": status["inputsDigest"],
        "iterations": [
            {
                "index": row["index"],
                "mistakes": row["mistakes"],
                "kept": row.get("kept", 0),
                "metrics": row["metrics"],
                "steps": [(step["stage"], step["attempt"], step["outcome"], step["digest"]) for step in row["steps"]],
            }
            for row in status["iterations"]
        ],
        "best": (status["best"]["iteration"], status["best"]["digest"]),
        "usage": status["usage"],
    }


@pytest.fixture(scope="module")
def undisturbed(
    cluster: RunningCluster, platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The outcome of the same run under an operator that lives."""
    platform.prepare_namespace("calm")
    with OperatorProcess(cluster.api, tmp_path_factory.mktemp("calm")):
        platform.apply("calm", platform.manifest(maxIterations=2))
        return outcome(platform.wait_for_end("calm"))


def test_killed_at_five_random_moments_and_once_with_each_stage_running(
    cluster: RunningCluster, platform: Platform, team: str, undisturbed: dict[str, Any], tmp_path: Path
):
    seed = random.randrange(10**6)
    print(f"random seed {seed}")
    chance = random.Random(seed)
    operator = OperatorProcess(cluster.api, tmp_path)
    operator.start()
    paid = platform.teacher.stats()
    platform.apply(team, platform.manifest(maxIterations=2))
    stages = ["Prepare", "Train", "Evaluate", "Generate"]
    for stage in stages:
        running = {"stage": stage, "state": "Running"}
        platform.wait(team, "keyword", lambda s, r=running: r.items() <= s.get("currentStep", {}).items())  # type: ignore[misc]
        operator.kill()
        time.sleep(chance.uniform(0, 1))
        operator.start()
    for _ in range(5):
        if platform.run(team)["status"]["phase"] == "Succeeded":
            break
        time.sleep(chance.uniform(0, 4))
        operator.kill()
        operator.start()
    try:
        status = platform.wait_for_end(team)
    finally:
        operator.stop()
    assert outcome(status) == undisturbed
    created = job_names(platform.writes(OPERATOR_USER, team))
    assert len(created) == len(set(created)) == 6
    after = platform.teacher.stats()
    assert after["requests"] - paid["requests"] == undisturbed["usage"]["teacherRequests"]
