"""`llm2llm watch` beside a scripted cluster; beside a real API server it is in test_commands.py, with pods in the e2e."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console
from tests.support.followed import AWAY, MISSING, Scripted, pod

from llm2llm.cli.main import main
from llm2llm_cluster import follow, watch
from llm2llm_cluster.view import View

Output = pytest.CaptureFixture[str]
SCORE = {"dataset": "evaluation", "name": "accuracy", "value": "0.5", "low": "0.4", "high": "0.6"}
TRAINED = json.dumps({"stage": "Train", "iteration": 1, "step": 39, "steps": 62, "loss": 0.5, "etaSeconds": 30})


def run(phase: str = "Running", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "r", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {"maxIterations": 3},
        "status": {"phase": phase, "message": "m", "observedGeneration": 1, **status},
    }


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a cluster the one that is watched, and has waiting take no time."""
    monkeypatch.setattr(follow, "PAUSE_SECONDS", 0.0)

    def use(cluster: Scripted) -> Scripted:
        monkeypatch.setattr(watch, "open_cluster", lambda *_: cluster)
        return cluster

    return use


@pytest.mark.parametrize(
    ("states", "watches", "code"),
    [
        pytest.param([run("Succeeded")], [], 0, id="over before"),
        pytest.param([run()], [[("MODIFIED", run("Failed"))]], 1, id="failed"),
        pytest.param([run(), AWAY, run("Succeeded")], [[AWAY], []], 0, id="the watch is cut and the server away"),
        pytest.param([run("Suspended")], [[("MODIFIED", run("Succeeded"))]], 0, id="held, and then let go on"),
        pytest.param([run()], [[("DELETED", run())]], 64, id="deleted"),
        pytest.param([MISSING], [], 64, id="none"),
        pytest.param([AWAY], [], 75, id="away from the beginning"),
    ],
)
def test_it_ends_with_the_run(use: Any, states: list[Any], watches: list[Any], code: int):
    use(Scripted(states, watches))
    assert main(["watch", "r"]) == code


def test_a_run_that_is_deleted_is_said(use: Any, capsys: Output):
    use(Scripted([run()], [[("DELETED", run())]]))
    main(["watch", "r"])
    assert capsys.readouterr() == ("r is Running: m\n", "r was deleted\n")


def test_without_a_terminal_each_change_is_a_line(use: Any, capsys: Output):
    scored = run(iterations=[{"index": 0, "metrics": [SCORE]}])
    use(Scripted([run()], [[("MODIFIED", scored), ("MODIFIED", scored), ("MODIFIED", run("Succeeded"))]]))
    assert main(["watch", "r"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "r is Running: m", "iteration 0, accuracy 0.5, interval 0.4-0.6", "r is Succeeded: m",
    ]  # fmt: skip


def test_a_terminal_shows_the_iterations_and_how_far_the_step_is(capsys: Output):
    view = View(run(iterations=[{"index": 0, "metrics": [SCORE]}], currentStep={"stage": "Train", "iteration": 1}))
    view.take(follow.PodIs(pod("r-train-1-x")))
    view.take(follow.LogLine(TRAINED))
    Console().print(watch._screen(view))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "r is Running, Train of iteration 1: m"
    assert "0.4-0.6" in lines[4]
    assert lines[-2].startswith("r-train-1-x: ")
    assert lines[-1] == "iteration 1 of 0-2, train 39/62, loss 0.5, 30 s left"


def test_the_help_shows_an_example(capsys: Output, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["watch", "--help"]) == 0
    assert "Example: llm2llm watch tickets -n ml" in capsys.readouterr().out
