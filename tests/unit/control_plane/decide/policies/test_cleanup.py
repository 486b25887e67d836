"""Which Jobs are deleted, and which one is left for its log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.attempts import attempt_in_progress
from tests.support.world import World, run_to_the_end

from llm2llm.loop.outcomes import StepId
from llm2llm.records import Stage
from llm2llm_operator.build.job import job_name
from llm2llm_operator.decide.policies.cleanup import live_jobs, obsolete_jobs
from llm2llm_operator.model.observation import Job, Observation
from llm2llm_operator.model.status import CurrentStep, IterationStatus, RunStatus, StepRecord


def test_at_most_two_jobs_are_left_and_one_at_the_end():
    world = World()
    for _ in range(8):
        world.settle()
        assert len(world.jobs) <= 2
        if world.status["phase"] == "Succeeded":
            break
        world.succeed()
    world.settle()
    assert len(world.jobs) == 1


def test_a_job_that_was_created_as_the_user_suspended_again_is_deleted():
    world = World()
    world.settle()
    world.spec = {**world.spec, "suspend": True}
    world.settle()
    assert world.status["phase"] == "Suspended"
    held = world.status
    world.spec = {**world.spec, "suspend": False}
    world.step()  # the Job is created, and the status that says so meets the user's edit: a conflict
    world.status = held
    name = world.created[-1]["metadata"]["name"]
    world.spec = {**world.spec, "suspend": True}
    world.settle()
    assert name not in world.jobs
    assert world.status["phase"] == "Suspended"
    world.spec = {**world.spec, "suspend": False}
    world.settle()
    assert world.jobs


def test_a_job_whose_deletion_failed_is_deleted_by_a_later_pass_over_the_finished_run():
    world = World()
    run_to_the_end(world)
    assert world.status["phase"] == "Succeeded"
    [newest] = world.jobs
    left = newest.replace("-evaluate-", "-train-")
    world.jobs[left] = builders.job(left, state="complete")
    assert [job.name for job in world.decide().delete] == [left]
    world.settle()
    assert list(world.jobs) == [newest]


def test_a_job_that_still_runs_is_not_deleted_by_a_pass_over_a_finished_run():
    world = World()
    run_to_the_end(world)
    world.jobs["alive"] = builders.job("alive")
    assert world.decide().delete == ()


def recorded(stage: str, minute: int, attempt: int = 0) -> StepRecord:
    ended = f"2026-01-01T12:{minute:02}:00Z"
    return StepRecord(stage=stage, attempt=attempt, outcome="Succeeded", completion_time=ended)


def name(stage: Stage, iteration: int = 0, attempt: int = 0) -> str:
    return job_name("r", builders.UID, StepId(stage, iteration), attempt)


def deleted(status: RunStatus, *jobs: Job) -> list[str]:
    inputs, _ = attempt_in_progress([])
    return [job.name for job in obsolete_jobs(replace(inputs, seen=Observation(jobs)), status)]


def ended_job(stage: Stage, iteration: int = 0, attempt: int = 0, **changes: Any) -> Job:
    return builders.job(name(stage, iteration, attempt), state="complete", **changes)


def test_the_newest_by_time_is_left_though_the_test_is_recorded_with_an_earlier_iteration():
    rows = [
        IterationStatus(index=0, steps=[recorded("Evaluate", 10), recorded("Test", 30)]),
        IterationStatus(index=1, steps=[recorded("Evaluate", 20)]),
    ]
    status = RunStatus(steps=[recorded("Prepare", 1)], iterations=rows)
    jobs = [ended_job(Stage.PREPARE), ended_job(Stage.TEST, 0), ended_job(Stage.EVALUATE, 1)]
    assert deleted(status, *jobs) == [name(Stage.PREPARE), name(Stage.EVALUATE, 1)]


def test_the_attempt_in_progress_and_the_one_before_it_are_left():
    step = CurrentStep(stage="Train", iteration=0, attempt=2, job_name=name(Stage.TRAIN, 0, 2))
    status = RunStatus(steps=[recorded("Prepare", 1)], current_step=step)
    jobs = [ended_job(Stage.TRAIN, 0, attempt) for attempt in range(3)]
    assert deleted(status, ended_job(Stage.PREPARE), *jobs) == [name(Stage.TRAIN, 0, 0)]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"deleting": True}, id="a Job that is on its way"),
        pytest.param({"complete": False}, id="a Job that has not ended"),
    ],
)
def test_what_is_left_alone(changes: dict[str, Any]):
    status = RunStatus(steps=[recorded("Prepare", 5)])
    assert deleted(status, ended_job(Stage.TRAIN)) == [name(Stage.TRAIN)]
    assert deleted(status, ended_job(Stage.TRAIN, **changes)) == []


def test_only_what_runs_is_stopped_in_a_run_that_is_held():
    jobs = (
        builders.job("alive"),
        builders.job("queued", state="suspended"),
        builders.job("ended", state="failed"),
        builders.job("going", deleting=True),
    )
    assert [job.name for job in live_jobs(Observation(jobs))] == ["alive", "queued"]
