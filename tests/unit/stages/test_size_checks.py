"""What is too small for a run to tell anything."""

from __future__ import annotations

import pytest

from llm2llm.stages.size_checks import FEWEST_HELD_OUT, FEWEST_SEEDS, limit_problem, limit_warning, size_warnings


def test_small_sets_are_named_with_what_follows_and_large_ones_are_not():
    assert list(size_warnings({"seed": FEWEST_SEEDS, "evaluation": FEWEST_HELD_OUT, "test": FEWEST_HELD_OUT})) == []
    assert list(size_warnings({"seed": 5, "evaluation": 2, "test": 1})) == [
        "warning: data.seed has only 5 rows, which the student memorizes instead of learning the task: use 100 or more",
        (
            "warning: data.evaluation has only 2 rows, so one row more or less is 0.5 of the score, and smaller differences "
            "mean nothing: use 200 or more"
        ),
        (
            "warning: data.test has only 1 row, so one row more or less is 1 of the score, and smaller differences mean "
            "nothing: use 200 or more"
        ),
    ]


@pytest.mark.parametrize(
    ("limit", "problem", "warning"),
    [
        pytest.param(0, False, False, id="no limit"),
        pytest.param(1, True, True, id="shorter than all answers"),
        pytest.param(2, False, True, id="shorter than some"),
        pytest.param(4, False, False, id="as long as the longest"),
    ],
)
def test_a_limit_of_answers(limit: int, *, problem: bool, warning: bool):
    lengths = [2, 3, 4]
    assert bool(limit_problem(limit, lengths)) is problem
    assert bool(limit_warning(limit, lengths)) is warning
    assert limit_problem(limit, []) == ""


def test_what_would_do_is_told():
    assert "the shortest has 2 tokens with its end, the longest 4; set 4 or more" in limit_problem(1, [2, 4])
    assert limit_warning(2, [2, 3, 4]).startswith(
        "warning: spec.evaluate.sampling.maxTokens 2 cuts 2 of 3 right answers"
    )


def test_the_limit_of_a_preset_is_called_that_and_what_to_set_instead():
    assert limit_problem(1, [2, 4], of_preset=True) == (
        "the preset's limit of 1 tokens cuts every right answer off, which then counts as wrong: the shortest has 2 tokens "
        "with its end, the longest 4; set spec.evaluate.sampling.maxTokens to 4 or more"
    )
    assert limit_warning(2, [2, 3, 4], of_preset=True) == (
        "warning: the preset's limit of 2 tokens cuts 2 of 3 right answers off, which then count as wrong: the longest has "
        "4 tokens with its end: set spec.evaluate.sampling.maxTokens to 4"
    )
