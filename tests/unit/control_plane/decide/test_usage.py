"""What a run has spent: each token and each second once, whatever attempts failed or pods vanished."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders
from tests.support.spending import GPU, PRICES, at_generate, tokens, training_on
from tests.support.world import World

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import Stage, Usage
from llm2llm_operator.decide.usage import spent_by, with_active_seconds, with_cost, with_teacher_usage
from llm2llm_operator.model.status import CurrentStep, IterationStatus, RunStatus, TeacherUsage, UsageStatus


def minutes(world: World, count: int) -> dict[str, Any]:
    return {"started": builders.NOW, "finished": builders.NOW + timedelta(minutes=count)}


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


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        pytest.param((5, 900, 90), (7, 1900, 190), id="a report replaces what earlier ones of the step said"),
        pytest.param(
            (0, 0, 0), (5, 1500, 150), id="one that was written before the ledger was read takes nothing back"
        ),
        pytest.param((4, 100, 90), (6, 1500, 190), id="each number by itself"),
    ],
)
def test_usage_of_the_step_in_progress_is_counted_once(reported: tuple[int, int, int], expected: tuple[int, int, int]):
    before = RunStatus(
        current_step=CurrentStep(
            stage="Generate", teacher_usage=TeacherUsage(requests=3, input_tokens=500, output_tokens=50)
        ),
        usage=UsageStatus(teacher_requests=5, teacher_input_tokens=1500, teacher_output_tokens=150),
    )
    requests, sent, received = reported
    usage = Usage(teacher_requests=requests, teacher_input_tokens=sent, teacher_output_tokens=received)
    after = with_teacher_usage(before, usage)
    told = after.usage
    assert (told.teacher_requests, told.teacher_input_tokens, told.teacher_output_tokens) == expected
    assert with_teacher_usage(after, usage) == after


def test_an_interval_counts_for_run_and_step_and_for_each_of_its_gpus():
    status = RunStatus(current_step=CurrentStep(stage="Train", active_seconds=10), active_seconds=100, active_since="t")
    status = with_active_seconds(status, 59.6, 4)
    assert (status.active_seconds, status.step.active_seconds, status.usage.gpu_seconds) == (160, 70, 240)
    assert status.active_since == ""


def test_the_running_containers_gpus_count_before_status_has_them():
    status = RunStatus(usage=UsageStatus(teacher_input_tokens=70, teacher_output_tokens=30, gpu_seconds=200))
    spent = spent_by(status, 50.0)
    assert (spent.gpu_seconds, spent.tokens) == (250.0, 100)


@pytest.mark.parametrize(
    ("prices", "usage", "summary"),
    [
        pytest.param(
            None, UsageStatus(teacher_input_tokens=70, teacher_output_tokens=30), "100 tokens", id="no prices"
        ),
        pytest.param(None, UsageStatus(gpu_seconds=9), "", id="no prices and no tokens"),
        pytest.param(PRICES, UsageStatus(teacher_output_tokens=12), "0.0001", id="less than a cent"),
        pytest.param(PRICES, UsageStatus(gpu_seconds=2 * 3600), "6.0000", id="GPUs alone"),
    ],
)
def test_the_column_of_the_cost(prices: dict[str, str] | None, usage: UsageStatus, summary: str):
    spec = AugmentationRunSpec.model_validate(builders.spec(budget={"prices": prices} if prices else {}))
    status = with_cost(RunStatus(usage=usage), spec)
    assert (status.summary.cost, status.usage.cost) == (summary, summary if prices else "")
    assert status.usage.projected_cost == ""  # no iteration has begun


@pytest.mark.parametrize(
    ("begun", "projected"),
    [
        pytest.param(2, "12.0000", id="two of four"),
        pytest.param(5, "6.0000", id="maxIterations was lowered: what is done is not undone"),
    ],
)
def test_iterations_to_come_are_taken_to_cost_what_those_so_far_did(begun: int, projected: str):
    spec = AugmentationRunSpec.model_validate(builders.spec(maxIterations=4, budget={"prices": PRICES}))
    rows = [IterationStatus(index=index) for index in range(begun)]
    status = with_cost(RunStatus(usage=UsageStatus(gpu_seconds=7200), iterations=rows), spec)
    assert status.usage.projected_cost == projected
