"""A budget holds a run, ends it, or fails it, before a step that would exceed it and while one holds GPUs."""

from __future__ import annotations

import pytest
from tests.support import builders
from tests.support.spending import GPU, PRICES, at_generate, evaluated, tokens, training_on
from tests.support.world import World, stages_of

from llm2llm.records import Stage


def test_fault_37_no_job_that_asks_the_teacher_is_created_beyond_the_token_budget():
    world = at_generate(maxTeacherTokens=100)
    assert stages_of(world)[-1] == "i000-evaluate-a0"
    assert world.status["phase"] == "Suspended"
    assert world.condition("Suspended")["reason"] == "BudgetExceeded"
    assert "maxTeacherTokens is 100" in world.status["message"]


def test_a_held_run_writes_nothing_and_goes_on_by_itself_once_the_budget_is_raised():
    world = at_generate(maxTeacherTokens=100)
    writes = world.writes
    for _ in range(3):
        world.seconds += 100
        world.step()
    assert world.writes == writes
    world.spec = {**world.spec, "maxDisruptions": 5}
    world.settle()
    assert world.status["phase"] == "Suspended"
    world.spec = {**world.spec, "budget": {"maxTeacherTokens": 1000}}
    world.settle()
    assert stages_of(world)[-1] == "i000-generate-a0"
    assert world.condition("Suspended")["status"] == "False"


def test_a_step_that_reached_the_budget_is_held_and_goes_on_with_its_next_attempt_after_a_change():
    world = at_generate(maxTeacherTokens=1000)
    world.end(68, builders.report(Stage.GENERATE, exit_code=68, message="980 of 1000 are spent", **tokens(880)))
    world.settle()
    assert world.condition("Suspended")["reason"] == "BudgetExceeded"
    assert world.status["usage"]["teacherInputTokens"] + world.status["usage"]["teacherOutputTokens"] == 980
    world.seconds += 1000
    world.settle()
    assert stages_of(world)[-1] == "i000-generate-a0"
    world.spec = {**world.spec, "budget": {"maxTeacherTokens": 2000}}
    world.settle()
    assert stages_of(world)[-1] == "i000-generate-a1"
    world.succeed(**tokens(1500))
    world.settle()
    assert world.status["usage"]["teacherInputTokens"] + world.status["usage"]["teacherOutputTokens"] == 1600


def test_complete_ends_with_the_best_adapter_and_counts_attempts_on_if_it_goes_on():
    world = at_generate(maxTeacherTokens=1000, onExceeded="Complete")
    world.end(68, builders.report(Stage.GENERATE, exit_code=68, **tokens(900)))
    world.settle()
    assert world.condition("Complete")["reason"] == "BudgetExceeded"
    assert world.status["best"]["iteration"] == 0
    world.spec = {**world.spec, "budget": {"maxTeacherTokens": 9000, "onExceeded": "Complete"}}
    world.settle()
    assert world.condition("Complete")["status"] == "False"
    assert stages_of(world)[-1] == "i000-generate-a2"  # 0 ran, 1 was not allowed


def test_a_finished_run_that_is_asked_for_more_than_its_budget_allows_says_so():
    world = evaluated(maxIterations=1)
    assert world.status["phase"] == "Succeeded"
    world.spec = {**world.spec, "maxIterations": 2, "budget": {"maxTeacherTokens": 100}}
    world.settle()
    assert world.condition("Suspended")["reason"] == "BudgetExceeded"
    assert "maxTeacherTokens is 100" in world.status["message"]


def test_complete_without_an_adapter_fails():
    world = World(spec=builders.spec(train=GPU, budget={"maxGPUHours": "0", "onExceeded": "Complete"}))
    world.settle()
    world.succeed()
    world.settle()
    assert world.condition("Failed")["reason"] == "BudgetExceeded"


def test_complete_still_scores_the_test_set_where_that_costs_nothing_of_the_budget():
    world = at_generate(maxTeacherTokens=100, onExceeded="Complete")
    world.spec["data"]["test"] = {"uri": "s3://b/test.jsonl"}
    world = World(spec=world.spec)
    world.settle()
    world.succeed(**tokens(100))
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    assert stages_of(world)[-1] == "i000-test-a0"
    world.succeed()
    world.settle()
    assert world.condition("Complete")["reason"] == "BudgetExceeded"
    assert world.status["test"]["value"] == "0.6900"


def test_fail_fails_and_spec_retry_goes_on_after_the_budget_was_raised():
    world = at_generate(maxTeacherTokens=100, onExceeded="Fail")
    assert world.condition("Failed")["reason"] == "BudgetExceeded"
    assert "spec.retry" in world.status["message"]
    world.spec = {**world.spec, "budget": {}, "retry": 1}
    world.settle()
    assert stages_of(world)[-1].startswith("i000-generate")


def test_a_training_that_would_exceed_its_gpu_hours_is_stopped_and_held_once_its_pod_is_gone():
    world = training_on({"maxGPUHours": "1"})
    assert world.decide().wake_after == pytest.approx(1800)  # two GPUs
    world.seconds = 1801
    name = world.current
    left = world.pods[name]
    world.step()
    assert name not in world.jobs
    world.pods["left"] = left
    world.settle()
    assert world.condition("Progressing")["reason"] == "BudgetExceeded"
    assert world.condition("Suspended") == {}
    del world.pods["left"]
    world.settle()
    assert world.condition("Suspended")["reason"] == "BudgetExceeded"
    assert world.status["usage"]["gpuSeconds"] >= 2 * 1801
    world.spec = {**world.spec, "budget": {"maxGPUHours": "4"}}
    world.settle()
    assert stages_of(world)[-1] == "i000-train-a1"


def test_money_for_gpus_ends_a_training_too():
    world = training_on({"maxCost": "3", "prices": PRICES})
    world.seconds = 1801
    world.settle()
    assert world.condition("Suspended")["reason"] == "BudgetExceeded"
