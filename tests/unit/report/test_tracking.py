"""What a tracking server should show of a run, and what is sent to one that has a part of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.steps import step_of

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId
from llm2llm.loop.stopping import Best, Finished
from llm2llm.records import Stage, Usage
from llm2llm.report.collect import Contents, Iteration, RejectedAnswer
from llm2llm.report.tracking import FoundRun, Point, TrackedRun, best_model, missing, tracked_iterations, tracked_run

STEP = step_of(Stage.EVALUATE, 1)
USAGE = Usage(teacher_requests=5, teacher_input_tokens=2_000_000, teacher_output_tokens=100)
PRICES = {"prices": {"inputPerMillion": "3", "outputPerMillion": "0", "gpuHour": "2"}}


def iteration(index: int, score: float, **changes: Any) -> Iteration:
    judged = builders.accuracy(score)
    return Iteration(
        index=index,
        train=builders.report(Stage.TRAIN, index, optimizer_steps=7),
        evaluate=builders.report(Stage.EVALUATE, index, metrics=(judged,)),
        judged=judged,
        **changes,
    )


def contents(**changes: Any) -> Contents:
    """Of a run with two iterations, of which the second is the best, before its second round."""
    generate = builders.report(Stage.GENERATE, 0, usage=USAGE)
    first = iteration(
        0,
        0.5,
        generate=generate,
        rejected=[RejectedAnswer("r1", "copy", "", "", "s1")],
        losses=[(5, 2.5), (10, 1.5)],
    )
    best = Best(1, builders.accuracy(0.75), "s3://b/adapter1", "sha256:train1")
    values: dict[str, Any] = {
        "run": "ns/r",
        "uri": "s3://b/runs/ns/r",
        "spec": AugmentationRunSpec.model_validate(builders.spec(budget=PRICES)),
        "inputs": builders.report(Stage.PREPARE),
        "iterations": [first, iteration(1, 0.75)],
        "seeds": [],
        "held_out": [],
        "best": best,
        "test": (),
        "state": StepId(Stage.GENERATE, 1),
        "gpu_seconds": 1800,
    }
    return Contents(**(values | changes))


def shown(run: TrackedRun) -> dict[tuple[str, int], float]:
    return {(point.metric, point.step): point.value for point in run.points}


def test_the_parent_shows_the_scores_by_iteration_and_what_was_spent():
    parent = tracked_run(STEP, contents())
    values = shown(parent)
    assert (values["score", 0], values["score", 1]) == (0.5, 0.75)
    assert (values["score_low", 1], values["score_high", 1]) == (0.7, 0.8)
    assert (values["mistakes", 0], values["train_rows", 1]) == (10, 41)
    assert (values["kept_rows", 0], values["rejected_rows", 0]) == (28, 1)
    assert (values["teacher_input_tokens", 1], values["gpu_hours", 1], values["cost", 1]) == (2_000_000, 0.5, 7.0)
    assert parent.parameters["teacher"] == "t"
    assert parent.parameters["student.revision"] == "abc"
    assert parent.tags["llm2llm.best_iteration"] == "1"
    assert parent.tags["llm2llm.verdict"].startswith("Accuracy rose from 0.500 to 0.750")


def test_a_child_shows_its_iteration_with_the_loss_of_its_training():
    first, second = tracked_iterations(STEP, contents())
    assert (first.name, first.iteration, second.name) == ("ns/r 0", 0, "ns/r 1")
    values = shown(first)
    assert (values["train_loss", 5], values["train_loss", 10]) == (2.5, 1.5)
    assert (values["evaluation/accuracy", 0], values["optimizer_steps", 0], values["cost_of_teacher", 0]) == (0.5, 7, 6)
    assert first.tags["llm2llm.model_uri"] == "s3://b/adapter0"
    assert ("train_loss", 5) not in shown(second)


def test_the_test_score_is_shown_with_the_best_iteration():
    tested = contents(test=(builders.accuracy(0.7, "test"),))
    first, second = tracked_iterations(STEP, tested)
    assert shown(tracked_run(STEP, tested))["test/accuracy", 1] == 0.7
    assert shown(second)["test/accuracy", 1] == 0.7
    assert not any(metric.startswith("test/") for metric, _ in shown(first))


@pytest.mark.parametrize(
    ("state", "finished"),
    [
        pytest.param(Finished("GoalReached", "done"), True, id="a run whose loop is over is finished"),
        pytest.param(StepId(Stage.TEST, 1), False, id="a run that is to be tested is not"),
        pytest.param(StepId(Stage.TRAIN, 2), False, id="a run that goes on is not"),
    ],
)
def test_a_run_is_finished_when_no_step_is_left(state: Finished | StepId, finished: bool):
    run = tracked_run(STEP, contents(state=state))
    assert (run.finished, run.tags.get("llm2llm.ended")) == (finished, "GoalReached: done" if finished else None)


def test_runs_of_one_name_in_two_places_are_two():
    here, there = tracked_run(STEP, contents()), tracked_run(STEP, contents(uri="file:///elsewhere"))
    assert here.tags["llm2llm.run_uid"] == there.tags["llm2llm.run_uid"]
    assert here.tags["llm2llm.artifacts"] != there.tags["llm2llm.artifacts"]


def test_the_best_adapter_is_a_model_with_its_digest():
    model = best_model(STEP, contents())
    assert model
    assert (model.source, model.tags["llm2llm.digest"], model.tags["llm2llm.iteration"]) == (
        "s3://b/adapter1", "sha256:train1", "1",
    )  # fmt: skip
    assert best_model(STEP, contents(best=None)) is None


def test_before_anything_is_evaluated_there_is_little_to_show():
    empty = contents(iterations=[], best=None, state=None, inputs=None)
    assert tracked_run(STEP, empty).points == []
    assert tracked_iterations(STEP, empty) == []


def test_values_are_cut_to_what_every_server_takes():
    spec = builders.spec(student={"model": {"uri": "s3://b/" + "x" * 900}})
    run = tracked_run(STEP, contents(spec=AugmentationRunSpec.model_validate(spec)))
    assert max(map(len, run.parameters.values())) == 500


WANTED = TrackedRun("r", None, {"a": "1"}, {"p": "x"}, [Point("m", 0, 0.5), Point("m", 1, 0.75)], finished=False)
WHOLE = FoundRun("id", 100, False, {"a": "1", "b": "a user's"}, {"p": "x"}, {"m": (Point("m", 1, 0.75), 130)})


def sent(metric: str, step: int, value: float, time: int) -> dict[str, Any]:
    return {"key": metric, "step": step, "value": value, "timestamp": time}


@pytest.mark.parametrize(
    ("found", "body"),
    [
        pytest.param(WHOLE, {}, id="a run that is there as a whole gets nothing"),
        pytest.param(replace(WHOLE, tags={"a": "0"}), {"tags": [{"key": "a", "value": "1"}]}, id="a tag is replaced"),
        pytest.param(replace(WHOLE, parameters={"p": "y"}), {}, id="a parameter is not: MLflow would refuse it"),
        pytest.param(replace(WHOLE, parameters={}), {"params": [{"key": "p", "value": "x"}]}, id="a parameter is added"),
        pytest.param(
            replace(WHOLE, latest={}), {"metrics": [sent("m", 0, 0.5, 110), sent("m", 1, 0.75, 100)]},
            id="each point has the time of its step, or that of the run",
        ),
        pytest.param(
            replace(WHOLE, latest={"m": (Point("m", 0, 0.5), 110)}),
            {"metrics": [sent("m", 0, 0.5, 110), sent("m", 1, 0.75, 100)]},
            id="a point that is sent again is the same point",
        ),
        pytest.param(
            replace(WHOLE, latest={"m": (Point("m", 1, 0.7), 130)}), {"metrics": [sent("m", 1, 0.75, 131)]},
            id="a value that has changed comes later, so that it is the one shown",
        ),
    ],
)  # fmt: skip
def test_only_what_is_missing_is_sent(found: FoundRun, body: dict[str, Any]):
    assert missing(WANTED, found, {0: 110}) == body
