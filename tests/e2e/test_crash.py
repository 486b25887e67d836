"""The operator is killed with SIGKILL: the same final state, no Job twice, no teacher request twice."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.fixtures import RunningCluster
from tests.e2e.conftest import job_names, outcome
from tests.support.install import OperatorProcess
from tests.support.platform import Platform
from tests.support.rights import OPERATOR_USER


@pytest.mark.turns("storms")
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
    for iteration, stage in [(0, "Prepare"), (0, "Train"), (0, "Evaluate"), (0, "Generate"), (1, "Train")]:
        running = {"stage": stage, "iteration": iteration, "state": "Running"}
        platform.wait(team, "keyword", lambda s, r=running: r.items() <= s.get("currentStep", {}).items())  # type: ignore[misc]
        operator.kill()  # with this stage running
        operator.start()
        time.sleep(chance.uniform(0, 2))
        operator.kill()  # at a random moment
        operator.start()
    assert platform.run(team)["status"]["phase"] == "Running"  # all ten hit a living run
    try:
        status = platform.wait_for_end(team)
    finally:
        operator.stop()
    assert outcome(status) == undisturbed
    created = job_names(platform.writes(OPERATOR_USER, team))
    assert len(created) == len(set(created)) == 6
    after = platform.teacher.stats()
    assert after["requests"] - paid["requests"] == undisturbed["usage"]["teacherRequests"]
