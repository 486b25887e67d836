from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders
from tests.support.world import World
from tests.unit.control_plane.decide.test_plan import stages_of

from llm2llm.records import Stage, Usage

GPU = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
PRICES = {"inputPerMillion": "1", "outputPerMillion": "10", "gpuHour": "3"}


def tokens(total: int) -> dict[str, Any]:
    return {"usage": Usage(teacher_requests=1, teacher_input_tokens=total - 10, teacher_output_tokens=10)}


def at_generate(**budget: Any) -> World:
    """A run whose iteration 0 is evaluated; Prepare spent 100 tokens."""
    world = World(spec=builders.spec(maxIterations=3, train=GPU, budget=budget))
    world.settle()
    world.succeed(**tokens(100))
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    return world


def minutes(world: World, count: int) -> dict[str, Any]:
    return {"started": builders.NOW, "finished": builders.NOW + timedelta(minutes=count)}


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


def test_a_run_held_for_approval_writes_nothing_while_it_waits():
    world = World(spec=builders.spec(approval={"mode": "BeforeTraining", "approvedRounds": 0}))
    while world.status.get("phase") != "Suspended":
        world.settle()
        if world.status["phase"] != "Suspended":
            world.succeed()
    writes = world.writes
    for _ in range(3):
        world.seconds += 100
        assert not world.step().events
    assert world.writes == writes
    world.spec = {**world.spec, "approval": {"mode": "BeforeTraining", "approvedRounds": 1}}
    world.settle()
    assert stages_of(world)[-1] == "i001-train-a0"


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


def test_what_failed_attempts_paid_is_counted_once():
    world = at_generate()
    for attempt in range(3):
        report = builders.report(Stage.GENERATE, attempt=attempt, exit_code=75, **tokens(200 * (attempt + 1)))
        world.end(75, report)
        world.settle()
        world.seconds += 400
        world.settle()
    world.succeed(**tokens(700))
    world.settle()
    assert world.status["usage"]["teacherInputTokens"] + world.status["usage"]["teacherOutputTokens"] == 800


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
    world = World(spec=builders.spec(maxIterations=1))
    world.settle()
    world.succeed(**tokens(100))
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
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


def test_gpu_hours_are_gpus_times_hours_over_all_attempts():
    world = World(spec=builders.spec(train=GPU, budget={"prices": PRICES}))
    world.settle()
    world.succeed()
    world.settle()
    world.end(75, **minutes(world, 10))
    world.settle()
    world.seconds += 400
    world.settle()
    world.end(0, builders.report(Stage.TRAIN), **minutes(world, 20))
    world.settle()
    assert world.status["usage"]["gpuSeconds"] == 2 * 30 * 60
    assert world.status["usage"]["cost"] == "3.0000"
    assert world.status["summary"]["cost"] == "3.0000"


def test_cost_is_tokens_and_gpus_by_their_prices_and_projected_over_all_iterations():
    world = at_generate(prices=PRICES)
    world.succeed(usage=Usage(teacher_requests=5, teacher_input_tokens=1_000_000, teacher_output_tokens=100_000))
    world.settle()
    assert world.status["usage"]["cost"] == "2.0002"
    assert world.status["usage"]["projectedCost"] == "6.0006"


def training_on(budget: dict[str, Any]) -> World:
    world = World(spec=builders.spec(train=GPU, budget=budget))
    world.settle()
    world.succeed()
    world.settle()
    world.start()
    world.settle()
    return world


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


def test_time_before_a_suspension_is_counted_though_its_pod_is_gone():
    world = training_on({"prices": PRICES})
    world.seconds = 600
    world.spec = {**world.spec, "suspend": True}
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert world.status["activeSeconds"] == 600
    assert world.status["usage"]["gpuSeconds"] == 1200
    assert "activeSince" not in world.status


def test_time_of_a_pod_that_was_evicted_and_deleted_is_counted():
    world = training_on({})
    name = world.current
    world.seconds = 300
    world.pods[name] = [builders.pod(world.jobs[name], uid="second")]  # the first one is gone, the second not started
    world.settle()
    assert world.status["activeSeconds"] == 300
    later = builders.NOW + timedelta(seconds=400)
    world.pods[name] = [builders.pod(world.jobs[name], uid="second", running=True, started=later)]
    world.seconds = 500
    world.settle()
    world.end(0, builders.report(Stage.TRAIN), started=later, finished=later + timedelta(seconds=100))
    world.settle()
    assert world.status["activeSeconds"] == 400


def test_time_of_an_evicted_pod_that_is_still_listed_is_counted_once():
    world = training_on({})
    name = world.current
    evicted = builders.pod(world.jobs[name], exit_code=137, disrupted=True, uid="first", **minutes(world, 5))
    world.pods[name] = [evicted, builders.pod(world.jobs[name], uid="second")]
    world.seconds = 301
    world.settle()
    assert world.status["activeSeconds"] == 300
    later = builders.NOW + timedelta(minutes=6)
    second = builders.pod(
        world.jobs[name], uid="second", exit_code=0, message=builders.report(Stage.TRAIN).to_termination_message(),
        started=later, finished=later + timedelta(minutes=1),
    )  # fmt: skip
    world.seconds = 421
    world.end(0, builders.report(Stage.TRAIN))
    world.pods[name] = [evicted, second]
    world.settle()
    assert world.status["activeSeconds"] == 360
