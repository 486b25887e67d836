"""What a local run shows of the steps that end."""

from __future__ import annotations

import pytest
from rich.console import Console
from tests.support import builders

from llm2llm.local.display import Display, Lines, Screen
from llm2llm.loop.outcomes import StepId
from llm2llm.records import Report, Stage

DROPPED = "4 evaluation rows are also seed rows and were dropped (lines 1, 2, 3, 4)"
PREPARED = Report(run_uid="u", stage=Stage.PREPARE, iteration=0, attempt=0, message=DROPPED)
SCORED = (builders.accuracy(0.5),)


@pytest.mark.parametrize("make", [Lines, lambda: Screen(3, "accuracy")], ids=["as lines", "on a terminal"])
def test_what_a_step_says_is_shown_when_it_ends(
    make: type[Lines], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    display: Display = make()
    display.step_finished(PREPARED, before=False)
    display.close()
    assert f"prepare: {DROPPED}\n" in capsys.readouterr().out


def test_what_a_step_said_before_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().step_finished(PREPARED, before=True)
    assert capsys.readouterr().out == "prepare: already done\n"


@pytest.mark.parametrize(
    ("stage", "rows", "shown"),
    [
        pytest.param(Stage.EVALUATE, {"mistakes": 7}, False, id="mistakes are in the table"),
        pytest.param(Stage.GENERATE, {"generated": 9, "kept": 9}, False, id="so is that all rows were kept"),
        pytest.param(Stage.GENERATE, {"generated": 9, "kept": 8}, True, id="why one was refused is not"),
        pytest.param(Stage.TRAIN, {"train_examples": 9}, True, id="nor is what was left out of training"),
    ],
)
def test_what_the_table_shows_is_not_said_beside_it(
    stage: Stage, rows: dict[str, int], shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Lines().step_finished(
        PREPARED.model_copy(update={"stage": stage, "message": "words", "metrics": SCORED, **rows}), before=False
    )
    assert ("words" in capsys.readouterr().out) == shown


def test_a_terminal_shows_the_loss_and_what_is_left_of_a_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    screen = Screen(3, "accuracy")
    screen.step_started(StepId(Stage.TRAIN, 1))
    screen.progress({"stage": "Train", "iteration": 1, "step": 39, "steps": 62, "loss": 0.51234, "etaSeconds": 200.0})
    Console().print(screen._view())
    shown = capsys.readouterr().out
    screen.close()
    assert "39/62" in shown
    assert "loss 0.5123, 3 min 20 s left" in shown
