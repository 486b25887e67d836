"""How an attempt begins, what is told of it while it waits or runs, and what follows its end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders
from tests.support.world import World, at_train, document, stages_of

from llm2llm.records import Stage
from llm2llm_operator.decide.attempt import describe_attempt
from llm2llm_operator.model.observation import Event
from llm2llm_operator.model.status import CurrentStep, RetryCounts, RunStatus


def test_the_attempt_is_persisted_before_its_job_and_transient_failures_back_off():
    world = World()
    world.settle()
    world.end(75)
    decided = world.step()
    assert decided.create is None
    assert decided.wake_after == pytest.approx(10)
    assert world.status["currentStep"]["attempt"] == 1
    assert world.condition("Progressing")["reason"] == "BackingOff"
    world.seconds += 11
    world.settle()
    assert stages_of(world) == ["prepare-a0", "prepare-a1"]


def test_after_three_transient_failures_the_run_fails_and_says_how_to_go_on():
    world = World()
    for _ in range(4):
        world.settle()
        world.end(75, message_of("disk full"))
        world.step()
        world.seconds += 400
    world.settle()
    assert world.condition("Failed")["reason"] == "StepFailed"
    assert "disk full" in world.status["message"]
    assert "spec.retry" in world.status["message"]
    assert world.condition("Stalled")["status"] == "True"


def message_of(text: str) -> str:
    return builders.report(Stage.PREPARE, exit_code=75, message=text, digest="").to_termination_message()


@pytest.mark.parametrize(
    ("code", "reason"),
    [(64, "InvalidSpec"), (65, "InvalidData"), (66, "AuthenticationFailed"), (70, "IncompatibleArtifacts"),
     (71, "LowAcceptance"), (72, "MetricInvalid")],
)  # fmt: skip
def test_an_exit_code_that_no_retry_can_mend_fails_at_once(code: int, reason: str):
    world = World()
    world.settle()
    world.end(code, "seed.jsonl: line 3 has no completion")
    world.settle()
    assert world.condition("Failed")["reason"] == reason
    assert "line 3" in world.status["message"]
    assert len(world.created) == 1


def out_of_memory() -> World:
    """The first training had no memory for a micro-batch of 8; its second attempt runs."""
    world = World()
    world.settle()
    world.succeed()
    world.settle()
    world.end(69, builders.report(Stage.TRAIN, exit_code=69, micro_batch=8, digest="").to_termination_message())
    world.settle()
    return world


def test_fault_21_gpu_out_of_memory_goes_on_with_half_the_micro_batch():
    world = out_of_memory()
    assert world.status["currentStep"]["microBatch"] == 4
    assert document(world).micro_batch == 4
    world.end(69, builders.report(Stage.TRAIN, exit_code=69, micro_batch=1, digest="").to_termination_message())
    world.settle()
    assert world.condition("Failed")["reason"] == "OutOfMemory"


def test_fault_21_later_trainings_keep_the_micro_batch_that_fitted():
    world = out_of_memory()
    for stage in (Stage.TRAIN, Stage.EVALUATE, Stage.GENERATE):
        assert document(world).stage is stage
        assert document(world).micro_batch == (4 if stage is Stage.TRAIN else 0)
        world.succeed()
        world.settle()
    assert (document(world).stage, document(world).iteration, document(world).micro_batch) == (Stage.TRAIN, 1, 4)
    world.end(69, builders.report(Stage.TRAIN, exit_code=69, micro_batch=4, digest="").to_termination_message())
    world.settle()
    assert document(world).micro_batch == 2


def test_a_step_that_never_tells_a_report_fails_the_run_when_its_retries_are_spent():
    world = World(spec=builders.spec(retries={"transient": 1}))
    kinds = []
    for _ in range(9):
        world.settle()
        if world.status["phase"] == "Failed":
            break
        world.seconds += 60
        world.settle()
        kinds.append(document(world).kind)
        world.end(0, "hello")
    assert world.condition("Failed")["reason"] == "ReportMissing"
    assert "spec.retry" in world.status["message"]
    assert kinds == ["Run", "Collect", "Run", "Collect"]


def test_between_the_end_of_a_pod_and_that_of_its_job_nothing_is_written():
    world = World()
    world.settle()
    world.start()
    world.settle()
    writes, name = world.writes, world.current
    world.pods[name] = [builders.pod(world.jobs[name], exit_code=0, message="")]
    world.settle()
    assert world.writes == writes
    world.pods[name] = [builders.pod(world.jobs[name], exit_code=143)]  # another pod will follow, whenever
    world.settle()
    assert "activeSince" not in world.status


def test_fault_17_a_job_that_somebody_deleted_is_collected_first_and_then_done_again():
    world = World()
    world.settle()
    world.succeed()
    world.settle()
    world.start()
    world.settle()
    world.vanish(world.current)
    world.settle()
    assert stages_of(world)[-1] == "i000-train-a1"
    assert document(world).kind == "Collect"
    world.end(75, builders.report(Stage.TRAIN, exit_code=75, reason="NotCommitted", digest="").to_termination_message())
    world.settle()
    assert stages_of(world)[-1] == "i000-train-a2"
    assert document(world).kind == "Run"


def test_a_job_that_is_deleted_again_and_again_fails_the_run():
    world = World()
    for _ in range(6):
        world.settle()
        if world.status["phase"] == "Failed":
            break
        world.start()
        world.settle()
        world.vanish(world.current)
    assert world.condition("Failed")["reason"] == "JobDeleted"


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        ({"unschedulable": "0/1 nodes: insufficient nvidia.com/gpu"}, "Unschedulable", "insufficient nvidia.com/gpu"),
        ({"waiting_reason": "ImagePullBackOff", "waiting_message": "no such image"}, "ImagePullBackOff", "no such image"),
        ({"waiting_reason": "CreateContainerConfigError", "waiting_message": 'secret "s3" not found'},
         "CreateContainerConfigError", 'secret "s3" not found'),
    ],
)  # fmt: skip
def test_a_run_says_why_it_waits_in_the_clusters_own_words(pod: dict[str, Any], reason: str, words: str):
    world = World()
    world.settle()
    world.pods[world.current] = [builders.pod(world.jobs[world.current], **pod)]
    world.settle()
    assert (world.condition("Progressing")["status"], world.condition("Progressing")["reason"]) == ("False", reason)
    assert words in world.status["message"]
    world.start()
    world.settle()
    assert world.condition("Progressing")["reason"] == "Preparing"


def test_a_job_that_its_queue_holds_back_is_queued():
    world = World()
    world.settle()
    world.jobs[world.current] = builders.job(world.current, state="suspended")
    world.settle()
    assert world.status["phase"] == "Queued"


def test_a_job_that_its_queue_admits_is_pending_until_its_container_runs_and_may_then_be_too_late():
    world = World(spec=builders.spec(prepare={"startupDeadlineSeconds": 60}))
    world.settle()
    name = world.current
    world.jobs[name] = builders.job(name, state="suspended")
    world.settle()
    world.seconds = 7200
    world.jobs[name] = builders.job(name)
    world.settle()
    assert (world.status["phase"], world.condition("Progressing")["reason"]) == ("Pending", "Preparing")
    assert world.condition("Progressing")["status"] == "True"
    world.seconds += 59
    world.settle()
    assert world.status["phase"] == "Pending"
    world.seconds += 1
    world.settle()
    assert world.condition("Failed")["reason"] == "StartupDeadlineExceeded"


@pytest.mark.parametrize(
    "pod",
    [
        {"unschedulable": "0/3 nodes are available"},
        {"gated": "example.com/gate"},
        {"unclaimed_by": "nobody", "created": builders.NOW - timedelta(minutes=1)},
    ],
    ids=lambda pod: next(iter(pod)),
)
def test_what_kept_a_pod_from_a_node_is_over_once_it_has_one(pod: dict[str, Any]):
    world = World()
    world.settle()
    job = world.jobs[world.current]
    world.pods[job.name] = [builders.pod(job, **pod)]
    world.settle()
    assert world.condition("Progressing")["status"] == "False"
    world.pods[job.name] = [builders.pod(job, waiting_reason="ContainerCreating")]
    world.settle()
    assert (world.condition("Progressing")["status"], world.condition("Progressing")["reason"]) == ("True", "Preparing")
    writes = world.writes
    world.settle()
    assert world.writes == writes


def test_an_image_that_is_pulled_again_and_again_is_told_once():
    world = World()
    world.settle()
    job = world.jobs[world.current]
    for reason in ("ErrImagePull", "ContainerCreating", "ErrImagePull"):
        world.pods[job.name] = [builders.pod(job, waiting_reason=reason)]
        world.settle()
        assert world.condition("Progressing")["reason"] == "ErrImagePull"


def test_too_many_evictions_fail_the_run():
    world = World(spec=builders.spec(maxDisruptions=1))
    world.settle()
    job = world.jobs[world.current]
    world.pods[job.name] = [builders.pod(job, exit_code=137, disrupted=True, uid=f"u{n}") for n in range(2)]
    world.settle()
    assert world.condition("Failed")["reason"] == "TooManyDisruptions"


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
    told = Event("FailedCreate", "exceeded quota: gpus", "job j", builders.NOW + timedelta(seconds=30))
    world.seconds, world.events = 30, (told,)
    world.settle()
    assert world.condition("Progressing")["reason"] == "QuotaExceeded"
    assert "exceeded quota: gpus" in world.status["message"]


def test_a_step_that_does_not_fit_into_a_variable_fails_the_run_before_its_job():
    labels = [f"{number:04}" + "x" * 246 for number in range(1000)]
    world = World(spec=builders.spec(task={"promptTemplate": "{{ prompt }}", "labels": labels}))
    world.settle()
    assert world.condition("Failed")["reason"] == "InvalidSpec"
    assert "more than the limit of 65536: shorten the spec" in world.status["message"]
    assert world.created == []


@pytest.mark.parametrize(
    ("step", "name"),
    [
        pytest.param({"stage": "Prepare"}, "Prepare", id="a stage that runs once"),
        pytest.param({"stage": "Train", "iteration": 3}, "Train of iteration 3", id="a stage of an iteration"),
        pytest.param({"stage": "Train", "attempt": 2}, "Train of iteration 0, attempt 2", id="a further attempt"),
        pytest.param(
            {"stage": "Test", "kind": "Collect", "attempt": 1}, "Test of iteration 0 (collect), attempt 1", id="Collect"
        ),
    ],
)
def test_the_name_of_an_attempt_in_messages(step: dict[str, Any], name: str):
    assert describe_attempt(RunStatus(current_step=CurrentStep(**step))) == name


def test_events_tell_of_each_success_retry_and_failure():
    world = World()
    events = list(world.settle().events)
    assert events == []
    world.end(75, message_of("the store is away"))
    events += world.step().events
    world.seconds += 60
    world.settle()
    world.succeed()
    events += world.step().events
    world.settle()
    world.end(66, "the key was refused")
    events += world.step().events
    assert [(event.type, event.reason) for event in events] == [
        ("Warning", "PrepareRetried"),
        ("Normal", "PrepareSucceeded"),
        ("Warning", "AuthenticationFailed"),
    ]
    assert events[0].message == "Prepare, attempt 1: the store is away"


def test_a_raised_retry_gives_a_step_fresh_retries_but_no_fresh_deadline():
    world = at_train(train={"activeDeadlineSeconds": 100}, retries={"transient": 1})
    for _ in range(2):
        world.end(75, finished=builders.NOW + timedelta(seconds=40))
        world.settle()
        world.seconds += 400
        world.settle()
    assert RunStatus.model_validate(world.status).step.retries == RetryCounts(transient=1)
    assert world.status["phase"] == "Failed"
    world.spec = {**world.spec, "retry": 1}
    world.settle()
    assert RunStatus.model_validate(world.status).step.retries == RetryCounts()
    assert world.status["currentStep"]["activeSeconds"] == 80
    world.start()
    world.seconds = 5
    assert world.step().wake_after == pytest.approx(15)


def test_a_job_that_waits_without_a_pod_is_looked_at_at_twenty_seconds_and_then_ever_less_often():
    world = World()
    world.settle()
    world.seconds = 15
    assert world.decide().wake_after == pytest.approx(6)
    for seconds, pause in ((20, 20), (60, 60), (200, 200), (9_000, 300)):
        world.seconds = seconds
        assert world.decide().wake_after == pytest.approx(pause)


def test_the_message_of_the_last_attempt_is_cut_to_what_the_schema_takes():
    world = World()
    world.settle()
    world.jobs[world.current] = builders.job(world.current, state="failed", failure_message="x" * 3000)
    world.settle()
    assert len(world.status["currentStep"]["message"]) == 1024
