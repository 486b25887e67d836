from __future__ import annotations

import pytest
from tests.support import builders
from tests.support.world import World
from tests.unit.control_plane.decide.test_plan import stages_of

from llm2llm.records import Stage
from llm2llm_operator.model.observation import Event


def at_train(**changes: object) -> World:
    world = World(spec=builders.spec(**changes))
    world.settle()
    world.succeed()
    world.settle()
    return world


def test_a_deadline_fails_the_run_at_once_deletes_the_job_and_names_the_pod_that_is_left():
    world = at_train(activeDeadlineSeconds=60)
    world.start()
    world.settle()
    assert world.decide().wake_after == pytest.approx(60)
    world.seconds = 61
    name = world.current
    decided = world.decide()
    assert [job.name for job in decided.delete] == [name]
    world.step()
    assert world.condition("Failed")["reason"] == "DeadlineExceeded"
    assert f"{name}-x" in world.status["message"]
    assert world.status["activeSeconds"] == 61


def test_fault_26_a_retry_waits_for_the_pod_that_a_deadline_left_behind():
    world = at_train(activeDeadlineSeconds=60)
    world.start()
    world.settle()
    world.seconds = 61
    left = world.pods[world.current]
    world.step()
    world.pods["left"] = left
    world.spec = {**world.spec, "retry": 1, "activeDeadlineSeconds": 600}
    world.settle()
    assert world.condition("Progressing")["reason"] == "PodStuckTerminating"
    assert stages_of(world)[-1] == "i000-train-a0"
    del world.pods["left"]
    world.settle()
    assert stages_of(world)[-1] == "i000-train-a1"


def test_active_time_adds_up_over_attempts_and_a_pause_between_them_counts_nothing():
    world = at_train()
    world.end(75, started=builders.NOW, finished=builders.NOW.replace(minute=1))
    world.settle()
    world.seconds = 4000
    world.settle()
    world.end(0, builders.report(Stage.TRAIN), started=builders.NOW, finished=builders.NOW.replace(minute=2))
    world.settle()
    assert world.status["activeSeconds"] == 180
    assert world.status["iterations"][0]["steps"][0]["activeSeconds"] == 180


def test_an_empty_teacher_account_holds_the_run_and_retry_releases_it():
    world = World()
    for _ in range(3):
        world.settle()
        world.succeed()
    world.settle()
    world.end(67, "the teacher's account is out of credit")
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert world.condition("Suspended")["reason"] == "TeacherQuotaExhausted"
    assert "spec.retry" in world.status["message"]
    assert world.condition("Failed") == {}
    world.spec = {**world.spec, "retry": 1}
    world.settle()
    assert stages_of(world)[-1] == "i000-generate-a1"


def test_training_on_new_rows_waits_for_a_persons_release():
    world = World(spec=builders.spec(maxIterations=3, approval={"mode": "BeforeTraining"}))
    for _ in range(4):
        world.settle()
        world.succeed()
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert world.condition("Suspended")["reason"] == "AwaitingApproval"
    assert "approvedRounds to 1" in world.status["message"]
    world.spec = {**world.spec, "approval": {"mode": "BeforeTraining", "approvedRounds": 1}}
    world.settle()
    assert stages_of(world)[-1] == "i001-train-a0"
    assert world.status["phase"] == "Running"


def test_an_image_name_that_nobody_can_pull_fails_at_once():
    world = World()
    world.settle()
    job = world.jobs[world.current]
    world.pods[job.name] = [
        builders.pod(job, waiting_reason="InvalidImageName", waiting_message="couldn't parse image")
    ]
    world.settle()
    assert world.condition("Failed")["reason"] == "InvalidImage"


def test_a_job_without_a_pod_asks_to_be_looked_at_again_when_events_can_tell():
    world = World()
    world.settle()
    assert world.decide().wake_after == pytest.approx(21)
    told = Event("FailedCreate", "exceeded quota: gpus", "job j", "2026-01-01T12:00:30Z")
    world.seconds, world.events = 30, (told,)
    world.settle()
    assert world.condition("Progressing")["reason"] == "QuotaExceeded"
    assert "exceeded quota: gpus" in world.status["message"]
