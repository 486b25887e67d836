"""What the report says in sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders, reports

from llm2llm.loop.outcomes import CLOSING, StepId
from llm2llm.loop.stopping import NO_MISTAKES, Best, Finished
from llm2llm.records import Metric, Stage
from llm2llm.report import summary


def test_the_verdict_names_both_scores_the_interval_the_rows_and_the_best_iteration():
    assert summary.verdict(reports.contents()) == (
        "Accuracy rose from 0.500 to 0.700 on 100 evaluation rows (95 % interval 0.650 to 0.750); the best is iteration 1."
    )


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.6, "Accuracy rose from 0.500 to 0.600 on"),
        (0.4, "Accuracy fell from 0.500 to 0.400 on"),
        (0.5, "Accuracy stayed at 0.500 on"),
        (0.5004, "Accuracy stayed at 0.500 on"),
    ],
)
def test_the_verdict_compares_the_scores_as_it_shows_them(score: float, words: str):
    best = Best(CLOSING + 2, builders.accuracy(score), "s3://b/adapter", "sha256:2")
    verdict = summary.verdict(reports.contents(best=best))
    assert verdict.startswith(words)
    assert verdict.endswith("; the best is the closing iteration (after 2).")


def test_a_probing_run_tells_its_newest_score_until_its_closing_iteration_is_done():
    assert summary.verdict(reports.contents(best=None, state=StepId(Stage.TRAIN, 2))) == (
        "Accuracy is 0.700 on 100 evaluation rows (95 % interval 0.650 to 0.750) in iteration 1, the newest; the closing "
        "iteration, whose student is the result, is not done yet."
    )


def test_a_loop_that_gained_nothing_says_so_first():
    contents = reports.contents(best=Best(0, builders.accuracy(0.5), "s3://b/adapter0", "sha256:0"))
    assert summary.verdict(contents).startswith("No iteration scored higher than training on the seed rows alone: acc")
    assert summary.gain(contents) is None


def test_one_iteration_is_compared_with_nothing():
    first = reports.contents().iterations[:1]
    contents = reports.contents(iterations=first, best=Best(0, builders.accuracy(0.5), "uri", "sha256:0"))
    assert summary.verdict(contents).endswith("after training on the seed rows alone.")


def test_before_an_evaluation_there_is_no_verdict():
    assert summary.verdict(reports.contents(iterations=[], best=None)) == "No iteration has been evaluated yet."


def test_the_gain_is_counted_row_by_row():
    gain = summary.gain(reports.contents(rows=40))
    assert gain is not None
    assert (gain.paired.gained, gain.paired.lost, gain.paired.examples) == (19, 0, 40)
    assert gain.chance == pytest.approx(2**-18)


@pytest.mark.parametrize(("value", "words"), [(0.0004, "p < .001"), (0.04, "p = .040"), (1.0, "p = 1.000")])
def test_a_chance_is_written_as_papers_do(value: float, words: str):
    assert summary.describe_chance(value) == words


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (Finished("Plateaued", "no improvement"), "Plateaued: no improvement"),
        (StepId(Stage.GENERATE, 3), "Not finished: next is Generate of iteration 3"),
        (None, ""),
    ],
)
def test_the_ending_says_why_or_what_is_next(state: Any, words: str):
    assert summary.ending(reports.contents(state=state)) == words


def score(dataset: str = "evaluation", examples: int = 500) -> Metric:
    return builders.accuracy(0.7, dataset).model_copy(update={"examples": examples})


def warned(**changes: Any) -> str:
    values: dict[str, Any] = {"best": Best(1, score(), "uri", "sha256:1")} | changes
    return "\n".join(summary.warnings(reports.contents(rows=60, **values)))


def test_a_good_run_has_no_warnings_but_that_its_rounds_kept_little():
    assert warned(iterations=[replace(each, generate=None) for each in reports.contents(rows=60).iterations]) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"test": ()}, "no score on a test set", id="no test set"),
        pytest.param({"best": Best(1, score(examples=60), "u", "d")}, "on only 60 rows", id="few rows"),
        pytest.param(
            {"best": Best(1, score("seed"), "u", "d")}, "there is no evaluation set", id="judged on its seeds"
        ),
        pytest.param({"state": Finished(NO_MISTAKES, "may have memorized")}, "memorized", id="memorized"),
    ],
)
def test_what_makes_a_score_doubtful_is_told(changes: dict[str, Any], words: str):
    assert words in warned(**changes)


def test_a_gain_that_may_be_chance_is_told():
    found = summary.warnings(reports.contents(rows=6))
    assert any(
        warning.startswith("The gain may be chance: the best iteration gained 2 rows and lost 0") for warning in found
    )


def test_a_best_iteration_that_lost_rows_has_no_gain():
    contents = reports.contents(rows=6)
    first, second = contents.iterations
    swapped = [replace(first, answers=second.answers), replace(second, answers=first.answers)]
    assert "There is no gain: the best iteration gained 0 rows and lost 2 (p = .500)." in summary.warnings(
        replace(contents, iterations=swapped)
    )


def test_a_round_that_kept_little_is_told_with_its_reasons():
    contents = reports.contents("leak")
    generated = builders.report(Stage.GENERATE, kept=1, generated=9)
    first = replace(contents.iterations[0], generate=generated)
    assert "Iteration 0 kept only 1 of the teacher's 9 rows (leak 3)." in summary.warnings(
        replace(contents, iterations=[first, contents.iterations[1]])
    )


def test_the_price_is_that_of_tokens_and_gpus():
    prices = {"inputPerMillion": "1000", "outputPerMillion": "0", "gpuHour": "2"}
    contents = reports.contents(spec=reports.spec(budget={"prices": prices}), gpu_seconds=5400.0)
    assert (summary.price(contents), summary.gpu_hours(contents)) == ("4.00", "1.5")
    assert (summary.price(reports.contents()), summary.gpu_hours(reports.contents())) == ("", "")


@pytest.mark.parametrize(("seconds", "words"), [(12.4, "12 s"), (129, "2 min 9 s"), (12_000, "3 h 20 min")])
def test_a_duration_has_its_two_largest_units(seconds: float, words: str):
    assert summary.duration(seconds) == words


def test_work_is_the_sum_over_all_steps():
    assert summary.work_seconds(reports.contents()) == pytest.approx(7.0)
