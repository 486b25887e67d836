from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import builders
from tests.support.world import World

from llm2llm.records import Stage, StepDocument


def stages_of(world: World) -> list[str]:
    return [body["metadata"]["name"].split("-", 2)[2] for body in world.created]


def run_to_the_end(world: World, limit: int = 40) -> None:
    for _ in range(limit):
        world.settle()
        if world.status["phase"] in ("Succeeded", "Failed"):
            return
        world.start()
        world.settle()
        world.succeed()
    raise AssertionError("the run does not end")


def test_a_run_of_two_iterations_is_six_jobs_and_the_last_iteration_generates_nothing():
    world = World()
    run_to_the_end(world)
    assert stages_of(world) == [
        "prepare-a0", "i000-train-a0", "i000-evaluate-a0", "i000-generate-a0", "i001-train-a0", "i001-evaluate-a0",
    ]  # fmt: skip
    assert world.condition("Complete")["reason"] == "MaxIterationsReached"
    assert world.status["best"]["iteration"] == 1
    assert world.status["best"]["modelUri"] == "s3://b/adapter1"
    assert world.status["summary"]["mistakes"] == "10/40"


def test_a_finished_run_asks_for_nothing_more():
    world = World()
    run_to_the_end(world)
    world.settle()
    writes = world.writes
    for _ in range(3):
        decided = world.step()
        assert not decided.create
        assert not decided.delete
        assert not decided.events
    assert world.writes == writes


def test_at_most_two_status_writes_a_job_and_two_a_run():
    world = World()
    run_to_the_end(world)
    assert world.writes <= 2 * len(world.created) + 2


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


def test_a_restarted_operator_creates_the_job_that_its_status_speaks_of_under_the_same_name():
    world = World()
    world.settle()
    name = world.current
    world.vanish(name)  # the status was written, then the operator died before the create
    world.created.clear()
    world.step()
    assert [body["metadata"]["name"] for body in world.created] == [name]


def test_a_job_that_exists_already_is_adopted():
    world = World()
    decided = world.decide()
    assert decided.create
    name = decided.create["metadata"]["name"]
    world.jobs[name] = builders.job(name)  # created, then the operator died before the status
    world.step()
    assert world.created == []
    assert world.current == name


def test_a_job_of_that_name_that_belongs_to_somebody_else_is_not_taken():
    world = World()
    world.settle()
    world.jobs[world.current] = builders.job(world.current, owner="somebody", state="complete")
    world.settle()
    assert world.condition("Progressing")["reason"] == "InternalError"


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


def test_raising_retry_goes_on_at_the_failed_step_and_keeps_what_is_recorded():
    world = World()
    world.settle()
    world.succeed()
    world.settle()
    world.end(66, "the key was refused")
    world.settle()
    assert world.status["phase"] == "Failed"
    world.spec = {**world.spec, "retry": 1}
    world.settle()
    assert world.status["phase"] == "Running"
    assert world.condition("Failed")["status"] == "False"
    assert stages_of(world) == ["prepare-a0", "i000-train-a0", "i000-train-a1"]
    assert [step["stage"] for step in world.status["steps"]] == ["Prepare"]


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


def document(world: World) -> StepDocument:
    container = world.created[-1]["spec"]["template"]["spec"]["containers"][0]
    return StepDocument.model_validate_json(next(e["value"] for e in container["env"] if e["name"] == "LLM2LLM_STEP"))


@pytest.mark.parametrize("message", ["", "not JSON", json.dumps({"stage": "Train"}), "x" * 5000])
def test_a_report_that_cannot_be_read_is_collected_from_the_manifest(message: str):
    world = World()
    world.settle()
    world.end(0, message)
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"
    assert document(world).kind == "Collect"
    world.succeed()
    world.settle()
    assert world.status["steps"][0]["outcome"] == "Succeeded"
    assert world.status["currentStep"]["stage"] == "Train"


@pytest.mark.parametrize("change", [{"run_uid": "another"}, {"iteration": 7}, {"stage": Stage.EVALUATE}])
def test_a_report_of_another_step_is_not_believed(change: dict[str, object]):
    world = World()
    world.settle()
    world.end(0, builders.report(Stage.PREPARE).model_copy(update=change).to_termination_message())
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"


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


def test_an_evaluation_that_tells_no_score_is_no_result():
    world = World()
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    world.succeed(metrics=())
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"


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


def test_while_suspended_no_job_exists_and_the_step_goes_on_as_the_next_attempt():
    world = World()
    world.settle()
    world.succeed()
    world.settle()
    world.start()
    world.settle()
    world.spec = {**world.spec, "suspend": True}
    name = world.current
    decided = world.decide()
    assert [job.name for job in decided.delete] == [name]
    assert world.status["phase"] == "Running"
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert name not in world.jobs
    world.spec = {**world.spec, "suspend": False}
    world.settle()
    assert stages_of(world)[-1] == "i000-train-a1"
    assert world.status["phase"] == "Running"


def test_a_result_that_arrives_while_suspending_is_recorded():
    world = World()
    world.settle()
    world.spec = {**world.spec, "suspend": True}
    world.succeed()
    world.settle()
    assert world.status["steps"][0]["outcome"] == "Succeeded"
    assert world.status["phase"] == "Suspended"
    assert len(world.created) == 1


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


def test_too_many_evictions_fail_the_run():
    world = World(spec=builders.spec(maxDisruptions=1))
    world.settle()
    job = world.jobs[world.current]
    world.pods[job.name] = [builders.pod(job, exit_code=137, disrupted=True, uid=f"u{n}") for n in range(2)]
    world.settle()
    assert world.condition("Failed")["reason"] == "TooManyDisruptions"


def test_fault_42_the_images_are_pinned_when_the_run_is_accepted():
    world = World()
    world.settle()
    assert world.status["images"]["train"] == "image/train"
    world.status["images"]["train"] = "image/older"
    world.succeed()
    world.settle()
    assert world.created[-1]["spec"]["template"]["spec"]["containers"][0]["image"] == "image/older"


def test_lowering_max_iterations_ends_the_run_after_the_iteration_in_progress():
    world = World(spec=builders.spec(maxIterations=5))
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    world.spec = {**world.spec, "maxIterations": 1}
    world.succeed()
    world.settle()
    assert world.condition("Complete")["reason"] == "MaxIterationsReached"


def test_fault_33_no_mistakes_left_completes_with_a_warning_when_the_evaluation_set_lags():
    world = World()
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    world.succeed(mistakes=0)
    world.settle()
    assert world.condition("Complete")["reason"] == "NoMistakes"
    assert "memorized" in world.condition("Complete")["message"]
