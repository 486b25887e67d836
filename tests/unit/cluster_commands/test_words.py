"""How a run is doing, in words."""

from __future__ import annotations

from typing import Any

import pytest

from llm2llm_cluster import words


def run(phase: str, conditions: list[dict[str, str]], **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "r"}, "spec": {}, "status": {"phase": phase, "conditions": conditions, **status}}


FAILED = [{"type": "Failed", "status": "True", "reason": "BudgetExceeded"}]
STEP = {"stage": "Train", "iteration": 2, "attempt": 1, "state": "Pending"}


def test_a_run_that_waits_says_where_and_why():
    waiting = run("Pending", [{"type": "Progressing", "status": "False", "reason": "Unschedulable"}], message="no\x1b[31m GPU",
                  currentStep=STEP | {"message": "Transient: the network"})  # fmt: skip
    first, *others = words.explain(waiting)
    assert first == "r is Pending, Train of iteration 2, attempt 2: no GPU"
    assert "The attempt before ended with: Transient: the network" in others


def test_a_run_that_failed_says_what_that_means_and_what_to_do():
    assert list(words.explain(run("Failed", FAILED, message="spent"))) == [
        "r is Failed: spent",
        "BudgetExceeded: A limit of spec.budget has been reached; budget.onExceeded says what happens next.",
        "raise the limit: llm2llm topup r (--tokens, --cost, --gpu-hours), then: llm2llm retry r",
    ]


def test_a_run_that_succeeded_says_where_its_results_are():
    ended = run("Succeeded", [], artifactsUri="s3://b/r", best={"modelUri": "s3://b/r/adapter"})
    assert list(words.explain(ended))[-1] == (
        "the report is at s3://b/r/report/index.html, the best student at s3://b/r/adapter"
    )


def test_a_run_that_nobody_has_seen_asks_for_the_operator():
    [sentence] = words.explain({"metadata": {"name": "r"}})
    assert sentence.startswith("r has no status yet: the operator has not seen it")


@pytest.mark.parametrize("metric", ["accuracy", "macroF1"])
def test_an_iteration_is_shown_by_the_score_that_it_is_judged_by(metric: str):
    scores = [
        {"dataset": dataset, "name": name, "value": f"0.{place}", "low": "0.1", "high": "0.9"}
        for place, (dataset, name) in enumerate(
            [("seed", "accuracy"), ("evaluation", "accuracy"), ("seed", "macroF1"), ("evaluation", "macroF1")], 1
        )
    ]
    of = {
        "spec": {"objective": {"metric": metric}},
        "status": {"iterations": [{"index": 0, "metrics": scores, "kept": 3}]},
    }
    [row] = words.iteration_rows(of)
    assert (row[metric], row["interval"], row["kept"]) == ("0.2" if metric == "accuracy" else "0.4", "0.1-0.9", 3)
    assert words.iteration_columns(of) == list(row)


def test_facts_are_what_the_status_has():
    status = {"artifactsUri": "s3://b/r", "usage": {"teacherRequests": 3, "cost": "1.50", "gpuSeconds": 0}}
    assert dict(words.facts({"status": status})) == {
        "artifacts": "s3://b/r", "report": "s3://b/r/report/index.html", "used": "teacherRequests 3, cost 1.50"
    }  # fmt: skip
    assert dict(words.facts({})) == {}


@pytest.mark.parametrize(
    ("observed", "seen"),
    [
        pytest.param({"observedGeneration": 4}, True, id="the newest"),
        pytest.param({"observedGeneration": 3}, False, id="the one before"),
        pytest.param({}, True, id="no generation"),
    ],
)
def test_a_status_from_before_a_change_is_called_that_and_advises_nothing(observed: dict[str, int], *, seen: bool):
    failed = run("Failed", FAILED, message="spent", **observed)
    failed["metadata"]["generation"] = 4
    assert words.is_seen(failed) is seen
    first, second, *_ = words.explain(failed)
    assert first == "r is Failed: spent"
    assert second.startswith("The operator has not seen the newest change of the spec yet") is not seen
