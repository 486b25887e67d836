"""The line that says how far a step is, from what it logs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm2llm.local.progress import event_of, progress_of
from llm2llm.loop.outcomes import CLOSING

TRAIN = {"stage": "Train", "iteration": 1, "step": 39, "steps": 62, "loss": 0.51234, "etaSeconds": 200.0}
EVALUATE = {"stage": "Evaluate", "iteration": 0, "step": 1200, "steps": 2400}


def line_of(event: dict[str, Any], iterations: int = 0) -> str:
    read = event_of(json.dumps(event))
    assert read is not None
    progress = progress_of(read)
    return progress.describe(iterations) if progress else ""


@pytest.mark.parametrize(
    ("event", "iterations", "line"),
    [
        pytest.param(TRAIN, 3, "iteration 1 of 0-2, train 39/62, loss 0.5123, 3 min 20 s left", id="a training"),
        pytest.param(EVALUATE, 0, "iteration 0, evaluate 1,200/2,400", id="rows, of nobody knows how many iterations"),
        pytest.param(
            TRAIN | {"step": 62, "etaSeconds": 0.0}, 3, "iteration 1 of 0-2, train 62/62, loss 0.5123", id="at its end"
        ),
        pytest.param(
            EVALUATE | {"iteration": CLOSING + 2}, 3, "closing iteration (after 2), evaluate 1,200/2,400", id="closing"
        ),
        pytest.param(
            TRAIN | {"iteration": 5}, 3, "iteration 5 of 0-5, train 39/62, loss 0.5123, 3 min 20 s left",
            id="an iteration beyond a maximum that was lowered",
        ),
        pytest.param(TRAIN | {"loss": None, "etaSeconds": 45}, 0, "iteration 1, train 39/62, 45 s left", id="seconds"),
        pytest.param(TRAIN | {"etaSeconds": 9000}, 0, "iteration 1, train 39/62, loss 0.5123, 2 h 30 min left", id="hours"),
        pytest.param({"stage": "Prepare", "step": 1, "steps": 2}, 3, "prepare 1/2", id="before the iterations"),
    ],
)  # fmt: skip
def test_a_line_says_where_the_step_is(event: dict[str, Any], iterations: int, line: str):
    assert line_of(event, iterations) == line


@pytest.mark.parametrize(
    "event",
    [
        {"stage": "Train", "iteration": 0, "threads": 4},
        TRAIN | {"step": "39"},
        TRAIN | {"stage": "Nap"},
        {"step": 1, "steps": 2},
    ],
)
def test_what_says_nothing_of_the_progress_is_none(event: dict[str, Any]):
    assert line_of(event) == ""


@pytest.mark.parametrize("line", ["", "INFO loading", "[1, 2]", '{"step": 1', "{" * 100_000, '"text"'])
def test_what_a_library_writes_is_no_event(line: str):
    assert event_of(line) is None


def test_a_loss_that_is_no_number_is_left_out():
    event = event_of('{"stage": "Train", "iteration": 0, "step": 1, "steps": 2, "loss": NaN, "etaSeconds": Infinity}')
    assert event is not None
    progress = progress_of(event)
    assert progress is not None
    assert progress.facts() == []
