"""Runs that are at work while chart and operator are upgraded, in either order, and while the operator is rolled back.

The former operator is the code of that commit, in a process of its own; it and this one see the same runs, Jobs and
reports, as two releases in one cluster do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.support.former import unpack
from tests.support.install import CHART, RELEASE, OperatorProcess, helm
from tests.support.podender import Ending, PodEnder, succeed
from tests.support.runs import Runs
from tests.support.sweep import lasting

from llm2llm.records import Stage, StepDocument

FORMER = "77af437"
"""A commit before names, conditions and the place of the CRD changed."""
NO_POD = ("--set", "deployment.enabled=false")
Document = dict[str, Any]


@pytest.fixture
def own() -> Iterator[Cluster]:
    """A control plane without the chart."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """The former code and chart."""
    return unpack(FORMER, tmp_path / "former", "operator", "images", "charts")


class Trainings:
    """Lets the first training of each run last until the run may go on."""

    def __init__(self) -> None:
        self.go_on: set[str] = set()

    def __call__(self, step: StepDocument) -> Ending:
        honest = succeed(step)
        if step.stage is Stage.TRAIN and step.iteration == 0:
            return Ending(message=honest.message, until=lambda: step.run in self.go_on)
        return honest


def trains(status: Document) -> bool:
    return {"stage": "Train", "state": "Running"}.items() <= (status.get("currentStep") or {}).items()


def in_flight(runs: Runs, name: str) -> None:
    runs.create(name, maxIterations=2)
    runs.wait(name, trains)


def end(runs: Runs, name: str, trainings: Trainings) -> Document:
    """What must not depend on who looked after the run when."""
    trainings.go_on.add(name)
    status = runs.wait_for_end(name)
    assert len({job["metadata"]["name"] for job in runs.jobs(name)}) == len(runs.jobs(name))
    return lasting(status, name, runs.get(name)["metadata"]["uid"])


@pytest.mark.turns("releases")
def test_runs_in_flight_outlive_an_upgrade_in_either_order_and_a_rollback(own: Cluster, former: Path, tmp_path: Path):
    former_code = {"PYTHONPATH": os.pathsep.join(str(former / part) for part in ("operator", "images"))}
    upgrade = ("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values")
    runs = Runs(own, "team")
    own.create_namespace("team")
    helm(own, "install", RELEASE, str(former / "charts" / CHART.name), "--create-namespace", *NO_POD)
    trainings = Trainings()
    with PodEnder(own, seconds=0.2, script=trainings):
        with OperatorProcess(own, tmp_path / "0", environment=former_code):
            in_flight(runs, "operator-first")
        helm(own, *upgrade, "--set", "crds.enabled=false")
        with OperatorProcess(own, tmp_path / "1"):  # on the former CRD
            by_operator = end(runs, "operator-first", trainings)
        with OperatorProcess(own, tmp_path / "2", environment=former_code):
            in_flight(runs, "chart-first")
            helm(own, *upgrade, "--set", "crds.enabled=true", "--take-ownership")
        with OperatorProcess(own, tmp_path / "3"):
            by_chart = end(runs, "chart-first", trainings)
            in_flight(runs, "calm")
            calm = end(runs, "calm", trainings)
            in_flight(runs, "back")
        helm(own, "rollback", RELEASE, "1")
        with OperatorProcess(own, tmp_path / "4", environment=former_code):
            back = end(runs, "back", trainings)
    assert calm["phase"] == "Succeeded"
    for status in (by_operator, by_chart, back):
        assert (status["phase"], status["best"], status["iterations"]) == (
            calm["phase"], calm["best"], calm["iterations"],
        )  # fmt: skip
