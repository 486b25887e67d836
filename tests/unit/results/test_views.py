"""What the commands that look at results show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders, reports

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.loop.stopping import Best
from llm2llm.records import Resolved, Stage
from llm2llm.report.collect import Contents
from llm2llm.results import views

RUN = reports.contents("words")


def test_the_best_iteration_is_asked_if_none_is_named():
    assert views.iteration_named(RUN, None).index == 1
    assert views.iteration_named(RUN, 0).index == 0


@pytest.mark.parametrize("index", [None, 7])
def test_an_iteration_that_was_not_evaluated_is_told_with_those_that_were(index: int | None):
    contents = replace(RUN, best=None, iterations=[]) if index is None else RUN
    with pytest.raises(ConfigurationError, match=r"has not been evaluated; evaluated iterations: (none|0, 1)"):
        views.iteration_named(contents, index)


def test_mistakes_have_the_row_the_right_answer_and_the_given_one():
    [seed, held_out] = views.mistakes(RUN, RUN.iterations[1], None, None)
    assert seed == {
        "set": "seed", "id": "words0", "words": "words", "label": "yes", "answer": "words", "verdict": "wrong"
    }  # fmt: skip
    assert (held_out["set"], held_out["id"]) == ("evaluation", "ewords0")


@pytest.mark.parametrize(
    ("label", "dataset", "expected"),
    [("yes", None, 2), ("perhaps", "seed", 1), (None, "evaluation", 3)],
)
def test_mistakes_are_chosen_by_label_and_set(label: str | None, dataset: str | None, expected: int):
    assert len(list(views.mistakes(RUN, RUN.iterations[0], label, dataset))) == expected


@pytest.mark.parametrize(
    ("label", "dataset", "words"),
    [
        ("Yes", None, r"no row has the right answer 'Yes': did you mean 'yes'\? \(the answers are no, perhaps, yes\)"),
        ("another", "seed", r"no row has the right answer 'another' \(the answers are"),
        (None, "probe", "iteration 1 answered no probe rows, only those of: seed, evaluation"),
        (None, "eval", "answered no eval rows"),
    ],
)
def test_what_no_row_can_have_is_not_taken_for_no_mistakes(label: str | None, dataset: str | None, words: str):
    with pytest.raises(ConfigurationError, match=words):
        views.mistakes(RUN, RUN.iterations[1], label, dataset)


def test_an_iteration_that_is_not_there_has_no_samples():
    with pytest.raises(ConfigurationError, match="there is no iteration 9; the iterations are 0, 1"):
        views.samples(RUN, 9, rejected=False)
    assert views.samples(RUN, 1, rejected=False) == []


def test_rows_that_are_gone_are_told():
    with pytest.raises(IncompatibleArtifacts, match="the run's rows are gone: restore its folder inputs"):
        views.check_inputs(replace(RUN, inputs=None))
    with pytest.raises(ConfigurationError, match="Prepare, is not done"):
        views.check_inputs(replace(RUN, inputs=None, iterations=[]))
    views.check_inputs(RUN)


def test_the_columns_are_those_of_the_rows():
    fields = {"y": "a", "label": "b", "id": "i", "completion": "c"}
    spec = AugmentationRunSpec.model_validate(
        builders.spec(task={"promptTemplate": "{{ y }}"}, data={"seed": {"uri": "s3://b/x", "fields": fields}})
    )
    assert views.columns_of(replace(RUN, spec=spec), views.MISTAKES) == [
        "set", "id", "y", "field label", "label", "answer", "verdict"
    ]  # fmt: skip
    contents = reports.contents("prompt")
    for table, rows in (
        (views.MISTAKES, views.mistakes(contents, contents.iterations[1], None, None)),
        (views.KEPT, views.samples(contents, None, rejected=False)),
        (views.REJECTED, views.samples(contents, None, rejected=True)),
    ):
        assert views.columns_of(contents, table) == list(rows[0])


def test_samples_are_those_that_were_kept_or_those_that_were_not():
    [kept] = views.samples(RUN, None, rejected=False)
    assert (kept["id"], kept["seed"], kept["label"], kept["iteration"]) == ("swords", "words0", "yes", 0)
    rejected = list(views.samples(RUN, 0, rejected=True))
    assert [row["reason"] for row in rejected] == ["words"] * 3
    assert list(views.samples(RUN, 1, rejected=True)) == []


def test_suspects_are_seed_rows_that_were_wrong_three_times():
    assert list(views.suspects(RUN.seeds)) == []
    seeds = [replace(RUN.seeds[0], answers=[(n, reports.given("words0", False, "no")) for n in range(3)])]
    [row] = views.suspects(seeds)
    assert (row["id"], row["label"], row["wrong"], row["answers"]) == ("words0", "yes", "3 of 3", "no")


def compared(first: Contents, second: Contents) -> tuple[views.Comparison, dict[str, tuple[str, str]]]:
    comparison = views.compare_runs(first, second)
    rows = views.comparison_rows(first, second, comparison)
    return comparison, {row["figure"]: (row["first"], row["second"]) for row in rows}


def judged_by(contents: Contents, iteration: int) -> Contents:
    """The run, with another iteration as its best."""
    return replace(contents, best=Best(iteration, builders.accuracy(0.5), "uri", "sha256:0"))


def test_two_runs_are_compared_row_by_row():
    worse, better = judged_by(reports.contents(rows=40), 0), reports.contents(rows=40)
    comparison, rows = compared(worse, better)
    assert (comparison.paired.gained, comparison.paired.lost) == (19, 0)
    assert rows["right where the other is wrong"] == ("0", "19")
    assert rows["cost"] == ("no prices", "no prices")
    assert rows["best iteration"] == ("0", "1")
    sentence = comparison.verdict("the first", "the second")
    assert sentence.startswith(
        "the second is better than the first (p < .001): of 40 rows, the second alone got 19 right"
    )
    assert views.compare_runs(better, worse).verdict("the first", "the second").startswith("the first is better")


def test_a_difference_that_may_be_chance_is_none():
    comparison, _ = compared(judged_by(RUN, 0), RUN)
    assert comparison.verdict("a", "b").startswith("No difference that is more than chance (p = .500)")


def test_a_point_costs_what_was_spent_for_it():
    prices = {"inputPerMillion": "1000", "outputPerMillion": "0", "gpuHour": "0"}
    contents = reports.contents(spec=reports.spec(budget={"prices": prices}))
    _, rows = compared(contents, judged_by(contents, 0))
    assert rows["cost"] == ("1.00", "1.00")
    assert rows["cost of a point of accuracy"] == ("0.05", "no gain")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"best": None}, "has no evaluated iteration to compare", id="nothing evaluated"),
        pytest.param(
            {"inputs": builders.report(Stage.PREPARE, resolved=Resolved(evaluation_digest="sha256:abc"))},
            r"were not scored on the same rows \(evaluation rows unknown, evaluation rows abc\)",
            id="other rows",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_not(changes: dict[str, Any], words: str):
    with pytest.raises(ConfigurationError, match=words):
        views.compare_runs(RUN, replace(RUN, **changes))


def test_a_field_that_is_called_as_a_column_of_ours_hides_nothing():
    shown, *_ = views.mistakes(reports.contents("id"), reports.contents("id").iterations[1], None, "seed")
    assert (shown["id"], shown["field id"]) == ("id0", "id")
