"""How a run ends, goes on after its end, and goes away."""

from __future__ import annotations

import pytest
from tests.support import builders
from tests.support.world import World, run_to_the_end, stages_of, with_test_set

from llm2llm.records import Stage


def test_the_best_adapter_is_scored_on_the_test_set_when_the_loop_is_over():
    world = with_test_set(maxIterations=2)
    run_to_the_end(world)
    assert stages_of(world)[-1] == "i001-test-a0"
    assert world.status["test"] == {
        "iteration": 1, "metric": "accuracy", "value": "0.6900", "examples": 100, "low": "0.6400", "high": "0.7400",
        "timesScored": 1,
    }  # fmt: skip
    image = world.created[-1]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "image/evaluate"


def test_a_finished_run_goes_on_where_it_ended_when_max_iterations_is_raised():
    world = with_test_set(maxIterations=1)
    run_to_the_end(world)
    world.spec = {**world.spec, "maxIterations": 2}
    world.settle()
    assert stages_of(world)[-1] == "i000-generate-a0"
    assert world.condition("Complete")["reason"] == "Continued"
    assert "completionTime" not in world.status
    run_to_the_end(world)
    assert stages_of(world)[-3:] == ["i001-train-a0", "i001-evaluate-a0", "i001-test-a0"]
    assert world.status["test"]["timesScored"] == 2


def test_the_test_set_is_not_looked_at_again_while_the_same_iteration_is_best():
    world = with_test_set(maxIterations=1)
    run_to_the_end(world)
    world.spec = {**world.spec, "maxIterations": 2}
    for stage in (Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE):
        world.settle()
        assert world.status["currentStep"]["stage"] == stage.value
        world.succeed(**({"metrics": (builders.accuracy(0.1),)} if stage is Stage.EVALUATE else {}))
    world.settle()
    assert world.status["phase"] == "Succeeded"
    assert world.status["test"]["timesScored"] == 1


def test_lowering_max_iterations_ends_the_run_after_the_iteration_in_progress():
    world = World(spec=builders.spec(maxIterations=5))
    for _ in range(4):  # prepare, train, evaluate, generate
        world.settle()
        world.succeed()
    world.settle()
    assert world.status["currentStep"]["stage"] == "Train"
    world.spec = {**world.spec, "maxIterations": 1}
    run_to_the_end(world)
    assert stages_of(world)[-2:] == ["i001-train-a0", "i001-evaluate-a0"]
    assert world.condition("Complete")["reason"] == "MaxIterationsReached"


def test_only_a_change_of_the_spec_begins_a_finished_run_again():
    world = World(spec=builders.spec(maxIterations=1))
    run_to_the_end(world)
    world.spec["maxIterations"] = 3  # as if another operator version read the same spec differently
    world.settle()
    assert world.status["phase"] == "Succeeded"


def test_a_change_that_lets_nothing_go_on_is_observed_once_and_the_end_stays():
    world = World(spec=builders.spec(maxIterations=1))
    run_to_the_end(world)
    world.spec = {**world.spec, "maxDisruptions": 3}
    writes = world.writes
    world.settle()
    assert world.status["phase"] == "Succeeded"
    assert world.writes == writes + 1
    assert world.condition("Complete")["observedGeneration"] == world.status["observedGeneration"] == 2


def test_a_finished_run_is_deleted_when_its_time_to_live_is_over():
    world = World(spec=builders.spec(maxIterations=1, ttlSecondsAfterFinished=100))
    run_to_the_end(world)
    decided = world.settle()
    assert not decided.delete_run
    assert decided.wake_after == pytest.approx(100)
    world.seconds += 100
    assert world.decide().delete_run


@pytest.mark.parametrize("exit_code", [65, 68], ids=["a failed run goes", "a held run stays"])
def test_what_the_time_to_live_is_about(exit_code: int):
    world = World(spec=builders.spec(ttlSecondsAfterFinished=0))
    world.settle()
    world.end(exit_code)
    world.settle()
    world.seconds += 1
    assert world.decide().delete_run == (exit_code == 65)


def test_a_run_without_a_time_to_live_stays():
    world = World(spec=builders.spec(maxIterations=1))
    run_to_the_end(world)
    world.seconds += 10**9
    decided = world.decide()
    assert not decided.delete_run
    assert decided.wake_after is None
