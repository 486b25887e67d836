"""`errorsFrom: Probe` as the operator carries it out."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from tests.support import builders
from tests.support.manifests import environment
from tests.support.world import World, run_to_the_end, stages_of

from llm2llm.records import Stage, Usage


def probing(*, test_set: bool = False, **changes: Any) -> World:
    spec = builders.spec(errorsFrom="Probe", **changes)
    if test_set:
        spec["data"] = {**spec["data"], "test": {"uri": "s3://b/test.jsonl"}}
    return World(spec=spec)


def test_a_run_probes_closes_and_tests_the_closing_adapter():
    world = probing(test_set=True, maxIterations=2)
    run_to_the_end(world)
    assert stages_of(world)[-5:] == [
        "i001-train-a0", "i001-evaluate-a0", "i102-train-a0", "i102-evaluate-a0", "i102-test-a0",
    ]  # fmt: skip
    assert world.status["best"]["iteration"] == world.status["test"]["iteration"] == 102
    assert world.status["currentIteration"] == 1
    assert world.condition("Complete")["message"] == "all 2 probing iterations are done"
    assert [row["index"] for row in world.status["iterations"]] == [0, 1, 102]


def test_best_is_empty_until_the_closing_iteration_is_evaluated_and_its_steps_are_told_by_name():
    world = probing(maxIterations=1)
    for _ in range(3):
        assert "best" not in world.status
        world.settle()
        world.succeed()
    world.settle()
    assert "best" not in world.status
    assert world.status["message"] == "Train of closing iteration (after 1)"
    assert world.status["summary"]["mistakes"] == "10/40"


def test_a_continued_run_keeps_its_best_until_it_closes_again():
    world = probing(maxIterations=1)
    run_to_the_end(world)
    assert world.status["best"]["iteration"] == 101
    world.spec = {**world.spec, "maxIterations": 2}
    world.settle()
    assert stages_of(world)[-1] == "i000-generate-a0"
    assert world.status["best"]["iteration"] == 101
    run_to_the_end(world)
    assert world.status["best"]["iteration"] == 102


def until(world: World, stage: str, **told: Any) -> None:
    """Steps succeed until this one is in progress."""
    for _ in range(20):
        world.settle()
        if world.status["currentStep"]["stage"] == stage:
            return
        world.succeed(**told)
    raise AssertionError(stage)


def test_a_spent_teacher_budget_closes_the_run():
    world = probing(test_set=True, maxIterations=5, budget={"maxTeacherTokens": 100, "onExceeded": "Complete"})
    until(world, "Evaluate", usage=Usage(teacher_input_tokens=200))
    run_to_the_end(world)
    assert stages_of(world)[-3:] == ["i101-train-a0", "i101-evaluate-a0", "i101-test-a0"]
    assert (world.condition("Complete")["reason"], world.status["best"]["iteration"]) == ("BudgetExceeded", 101)


def test_a_spent_gpu_budget_ends_the_run_with_its_best_probing_iteration_and_raised_it_goes_on():
    gpus = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    budget = {"maxGPUHours": "1", "onExceeded": "Complete"}
    world = probing(test_set=True, maxIterations=5, train=gpus, budget=budget)
    until(world, "Train")
    world.end(0, builders.report(Stage.TRAIN), finished=builders.NOW + timedelta(hours=1))
    run_to_the_end(world)
    assert stages_of(world)[-1] == "i000-test-a0"
    assert (world.condition("Complete")["reason"], world.status["best"]["iteration"]) == ("BudgetExceeded", 0)
    world.spec = {**world.spec, "budget": {"maxGPUHours": "9", "onExceeded": "Complete"}}
    world.settle()
    assert "best" not in world.status
    assert stages_of(world)[-1] == "i001-train-a0"


def test_approval_releases_rounds_and_the_closing_iteration_needs_no_release_of_its_own():
    world = probing(maxIterations=2, approval={"mode": "BeforeTraining", "approvedRounds": 1})
    run_to_the_end(world)
    assert stages_of(world)[-1] == "i102-evaluate-a0"
    held = probing(maxIterations=2, approval={"mode": "BeforeTraining"})
    for _ in range(4):
        held.settle()
        held.succeed()
    held.settle()
    assert held.status["phase"] == "Suspended"
    assert "set spec.approval.approvedRounds to 1" in held.status["message"]


def test_the_closing_job_is_told_all_rounds():
    world = probing(maxIterations=2)
    run_to_the_end(world)
    document = json.loads(environment(world.created[-2])["LLM2LLM_STEP"])
    assert (document["stage"], document["iteration"]) == ("Train", 102)
    assert sorted(document["parents"]) == ["inputs", "iterations/000/generate"]
