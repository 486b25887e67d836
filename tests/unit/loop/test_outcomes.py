"""Iterations by number and by name, and what of a report later decisions need."""

from __future__ import annotations

import pytest
from tests.support import builders

from llm2llm.loop.outcomes import CLOSING, StepId, StepResult, describe_iteration, iteration_label
from llm2llm.records import Paired, Stage


@pytest.mark.parametrize(
    ("iteration", "closing", "rounds"),
    [
        pytest.param(0, False, 0, id="nothing is written before the first"),
        pytest.param(63, False, 63, id="one round before each later one"),
        pytest.param(CLOSING + 1, True, 0, id="the only probing iteration wrote nothing"),
        pytest.param(CLOSING + 64, True, 63, id="nor does the last of 64 before the closing one"),
    ],
)
def test_the_rounds_before_an_iteration(iteration: int, closing: bool, rounds: int):
    train = StepId(Stage.TRAIN, iteration)
    assert (train.closing, train.rounds) == (closing, rounds)


@pytest.mark.parametrize(
    ("iteration", "label", "sentence"),
    [
        pytest.param(0, "0", "iteration 0", id="the first"),
        pytest.param(99, "99", "iteration 99", id="below the closing ones"),
        pytest.param(102, "closing (after 2)", "closing iteration (after 2)", id="a closing one"),
    ],
)
def test_an_iteration_has_a_name_for_tables_and_one_for_sentences(iteration: int, label: str, sentence: str):
    assert iteration_label(iteration) == label
    assert describe_iteration(iteration) == sentence


def test_a_report_leaves_its_result():
    paired = Paired(against=0, dataset="evaluation", examples=100, gained=9, lost=4)
    evaluated = builders.report(Stage.EVALUATE, 3, paired=paired)
    assert StepResult.of(evaluated) == StepResult(
        StepId(Stage.EVALUATE, 3), "sha256:evaluate3", evaluated.metrics, mistakes=10, paired=paired
    )
    assert StepResult.of(builders.report(Stage.GENERATE, 3)).kept == 28
    assert StepResult.of(builders.report(Stage.TRAIN, 3)).model_uri == "s3://b/adapter3"
