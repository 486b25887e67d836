from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders
from tests.support.builders import evaluation

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.steps import next_step, parents
from llm2llm.loop.stopping import Finished, stop_rule
from llm2llm.records import Stage


def spec(**changes: Any) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(builders.spec(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"strategy": "Untargeted", "rowsPerRound": 30}, id="of a fixed size"),
        pytest.param({"strategy": "Untargeted"}, id="as many rows as mistakes"),
    ],
)
def test_an_untargeted_run_goes_on_without_mistakes(changes: dict[str, Any]):
    """The control arm writes for random rows: a student that has memorized its seeds leaves it as much to do."""
    untargeted = spec(generate=builders.spec()["generate"] | changes)
    done = [StepResult(StepId(stage, 0), stage.value) for stage in (Stage.PREPARE, Stage.TRAIN)]
    evaluated = [*done, evaluation(0, 0.6, mistakes=0)]
    assert next_step(untargeted, evaluated) == StepId(Stage.GENERATE, 0)
    assert next_step(spec(), evaluated) == stop_rule(spec(), evaluated[-1:])


def test_stages_follow_each_other_and_the_last_iteration_does_not_generate():
    order: list[StepId | Finished] = []
    done: list[StepResult] = []
    while True:
        following = next_step(spec(maxIterations=2), done)
        order.append(following)
        if isinstance(following, Finished):
            break
        metrics = (builders.accuracy(0.5),) if following.stage is Stage.EVALUATE else ()
        done.append(StepResult(following, f"{following.stage}{following.iteration}", metrics, mistakes=3))
    assert [step.stage.value for step in order[:-1] if isinstance(step, StepId)] == [
        "Prepare", "Train", "Evaluate", "Generate", "Train", "Evaluate",
    ]  # fmt: skip


def test_a_step_reads_exactly_what_it_needs():
    done = [
        StepResult(StepId(Stage.PREPARE), "p"),
        *(StepResult(StepId(stage, i), f"{stage.value[0]}{i}") for i in range(3) for stage in (Stage.TRAIN, Stage.GENERATE)),
        *(evaluation(i, 0.5, paired=(0, 3, 2)) for i in range(3)),
    ]  # fmt: skip
    assert parents(spec(), StepId(Stage.TRAIN, 2), done) == {
        "inputs": "p", "iterations/000/generate": "G0", "iterations/001/generate": "G1",
    }  # fmt: skip
    assert parents(spec(), StepId(Stage.EVALUATE, 0), done) == {"inputs": "p", "iterations/000/train": "T0"}
    assert parents(spec(), StepId(Stage.EVALUATE, 2), done) == {
        "inputs": "p", "iterations/002/train": "T2",
        "iterations/000/evaluate": "E0",  # the one to beat
        "iterations/001/evaluate": "E1",  # the one before
    }  # fmt: skip
    assert parents(spec(), StepId(Stage.GENERATE, 1), done) == {
        "inputs": "p", "iterations/000/generate": "G0", "iterations/001/evaluate": "E1",
    }  # fmt: skip


def test_an_evaluation_reads_the_synthetic_sets_where_their_mistakes_count():
    done = [
        StepResult(StepId(Stage.PREPARE), "p"),
        *(StepResult(StepId(stage, i), f"{stage.value[0]}{i}") for i in range(3) for stage in (Stage.TRAIN, Stage.GENERATE)),
    ]  # fmt: skip
    assert parents(spec(augmentFrom="SeedAndSynthetic"), StepId(Stage.EVALUATE, 2), done) == {
        "inputs": "p", "iterations/000/generate": "G0", "iterations/001/generate": "G1", "iterations/002/train": "T2",
    }  # fmt: skip


def test_training_from_the_previous_iteration_reads_its_adapter():
    done = [
        StepResult(StepId(Stage.PREPARE), "p"),
        StepResult(StepId(Stage.TRAIN, 0), "T0"),
        StepResult(StepId(Stage.GENERATE, 0), "G0"),
    ]
    ablation = spec(startFrom="PreviousIteration")
    assert parents(ablation, StepId(Stage.TRAIN, 0), done) == {"inputs": "p"}
    assert parents(ablation, StepId(Stage.TRAIN, 1), done) == {
        "inputs": "p", "iterations/000/generate": "G0", "iterations/000/train": "T0",
    }  # fmt: skip


def test_what_is_compared_does_not_depend_on_what_may_change_in_the_spec():
    done = [StepResult(StepId(Stage.PREPARE), "p"), *(StepResult(StepId(Stage.TRAIN, i), f"T{i}") for i in range(4))]
    done += [evaluation(0, 0.5), evaluation(1, 0.9, paired=(0, 12, 10)), evaluation(2, 0.6, paired=(0, 30, 9))]
    plain = parents(spec(), StepId(Stage.EVALUATE, 3), done)
    changed = spec(
        task={"promptTemplate": "x", "grader": {"type": "Choice"}, "labels": ["a", "b"]},
        objective={"metric": "macroF1", "goal": "0.9"},
        earlyStopping={"patience": 3, "minDelta": "0.5"},
    )
    assert plain == parents(changed, StepId(Stage.EVALUATE, 3), done)
    assert "iterations/002/evaluate" in plain
    assert "iterations/001/evaluate" not in plain
