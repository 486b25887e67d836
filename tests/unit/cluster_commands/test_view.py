"""What is shown of a run that is watched, and what is said of it where there is no terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm2llm_cluster.follow import Away, LogLine, NoLog, PodIs, RunIs, Update
from llm2llm_cluster.view import View


def run(stage: str = "Train", iteration: int = 1, phase: str = "Running", **status: Any) -> dict[str, Any]:
    step = {"stage": stage, "iteration": iteration}
    return {
        "metadata": {"name": "r", "generation": 1},
        "spec": {"maxIterations": 3},
        "status": {"phase": phase, "message": "its pod runs", "currentStep": step, "observedGeneration": 1, **status},
    }


def line(step: int, **changes: Any) -> LogLine:
    return LogLine(
        json.dumps(
            {"stage": "Train", "iteration": 1, "step": step, "steps": 62, "loss": 0.5, "etaSeconds": 30} | changes
        )
    )


LABELS = {"llm2llm.dev/stage": "train", "llm2llm.dev/iteration": "1", "llm2llm.dev/attempt": "0"}
POD = PodIs({"metadata": {"name": "r-train-1-x", "labels": LABELS}})
SCORED = {"index": 0, "trainExamples": 80, "metrics": [
    {"dataset": "evaluation", "name": "accuracy", "value": "0.5", "low": "0.4", "high": "0.6"}]}  # fmt: skip
AT_39 = "iteration 1 of 0-2, train 39/62, loss 0.5, 30 s left"
HEAD = "r is Running, Train of iteration 1: its pod runs"


@pytest.mark.parametrize(
    ("updates", "lines"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([RunIs(run())], [], id="the same again"),
        pytest.param([line(39)], [AT_39], id="progress"),
        pytest.param([line(39), line(39)], [AT_39], id="the same progress"),
        pytest.param([LogLine("INFO loading weights"), LogLine('{"threads": 4}')], [], id="what a library says"),
        pytest.param([LogLine('{"message": "waiting\\u001b[2J"}')], ["waiting"], id="a message, as text"),
        pytest.param([POD], ["r-train-1-x: Train of iteration 1, attempt 0"], id="a pod"),
        pytest.param([Away("no answer"), RunIs(run())], ["no answer (waiting)"], id="the API server is away"),
        pytest.param([NoLog("403")], ["its log cannot be read: 403"], id="no log"),
        pytest.param(
            [RunIs(run(iterations=[SCORED]))],
            ["iteration 0, train rows 80, accuracy 0.5, interval 0.4-0.6"], id="an iteration",
        ),
        pytest.param([RunIs(run(iterations=[{"index": 0}]))], [], id="an iteration of which nothing is known"),
    ],
)  # fmt: skip
def test_each_change_is_a_line(updates: list[Update], lines: list[str]):
    view = View(run())
    assert list(view.news()) == [HEAD]
    said = []
    for update in updates:
        view.take(update)
        said += list(view.news())
    assert said == lines


def test_the_progress_of_a_step_that_is_over_is_not_shown():
    view = View(run())
    view.take(line(39))
    assert view.progress_line == AT_39
    view.take(RunIs(run("Evaluate")))
    assert view.progress_line == ""


def test_a_new_pod_begins_without_the_progress_of_the_one_before():
    view = View(run())
    view.take(line(39))
    view.take(POD)
    assert view.progress_line == ""


@pytest.mark.parametrize(
    ("phase", "generation", "ended"),
    [("Running", 1, False), ("Suspended", 1, False), ("Succeeded", 1, True), ("Failed", 1, True), ("Failed", 2, False)],
)
def test_a_run_has_ended_by_a_status_that_knows_its_spec(phase: str, generation: int, ended: bool):
    found = run(phase=phase)
    found["metadata"]["generation"] = generation
    assert View(found).ended is ended
