"""A step's own container says how it ended, whatever else its pod is made of; a pod that never ran it says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders
from tests.support.world import World, stages_of, training

from llm2llm.records import Stage
from llm2llm_operator.model.containers import InitContainer
from llm2llm_operator.model.status import RunStatus

REFUSAL = "UnexpectedAdmissionError: Pod was rejected: no healthy devices"


def one_iteration() -> World:
    """A run of one iteration whose training runs."""
    return training(maxIterations=1)


def end_step_beside(world: World, exit_code: int = 0, message: str | None = None, **pod: Any) -> str:
    """The step of the current Job ends; a container beside it runs on. Returns the name of the Job."""
    step = world.status["currentStep"]
    report = builders.report(Stage(step["stage"]), step.get("iteration", 0), exit_code=exit_code, micro_batch=8)
    text = report.to_termination_message() if message is None else message
    values = {"phase": "Running", "beside": "istio-proxy", **pod}
    world.pods[world.current] = [builders.pod(world.jobs[world.current], exit_code=exit_code, message=text, **values)]
    return world.current


def deleted(world: World) -> list[str]:
    return [job.name for job in world.decide().delete]


def test_a_success_beside_a_container_is_recorded_and_the_next_step_waits_for_the_pod():
    world = one_iteration()
    name = end_step_beside(world)
    left = world.pods[name]
    decided = world.step()
    assert [job.name for job in decided.delete] == [name]
    assert [event.reason for event in decided.events] == ["TrainSucceeded"]
    assert "container istio-proxy runs on" in decided.events[0].message
    assert world.status["iterations"][0]["steps"][0]["stage"] == "Train"
    world.pods["left"] = left
    world.settle()
    assert stages_of(world)[-1] == "i000-train-a0"
    assert "the step in it has ended, but container istio-proxy runs on" in world.status["message"]
    del world.pods["left"]
    world.settle()
    assert stages_of(world)[-1] == "i000-evaluate-a0"


def test_a_success_is_recorded_once_though_the_operator_died_before_it_deleted_the_job():
    world = one_iteration()
    name = end_step_beside(world)
    job, left = world.jobs[name], world.pods[name]
    world.step()
    usage = world.status["usage"]
    world.jobs[name], world.pods[name] = job, left
    assert deleted(world) == [name]
    world.settle()
    world.settle()
    assert world.status["usage"] == usage
    assert stages_of(world).count("i000-train-a0") == 1
    assert stages_of(world)[-1] == "i000-evaluate-a0"


def last_step_beside(world: World) -> str:
    """The last step of the run ends beside a container, and its Job cannot be deleted. Returns the Job's name."""
    world.succeed()
    world.settle()
    name = end_step_beside(world)
    job, left = world.jobs[name], world.pods[name]
    assert name in deleted(world)
    world.step()
    world.jobs[name], world.pods[name] = job, left
    return name


def test_a_job_that_outlived_its_run_is_deleted_by_a_later_pass():
    world = one_iteration()
    name = last_step_beside(world)
    assert world.status["phase"] == "Succeeded"
    assert deleted(world) == [name]
    world.pods[name] = [replace(world.pods[name][0], beside="", phase="Succeeded")]  # it ends by itself
    assert deleted(world) == []


def test_a_job_that_outlived_a_run_that_failed_is_deleted_by_a_later_pass():
    world = one_iteration()
    name = end_step_beside(world, 65)
    job, left = world.jobs[name], world.pods[name]
    assert deleted(world) == [name]
    world.step()
    assert world.condition("Failed")["reason"] == "InvalidData"
    world.jobs[name], world.pods[name] = job, left
    assert deleted(world) == [name]


def test_a_failed_job_is_left_for_its_log():
    world = one_iteration()
    world.end(65)
    assert deleted(world) == []
    world.step()
    assert deleted(world) == []


@pytest.mark.parametrize(
    ("code", "attempt", "state", "retries"),
    [
        pytest.param(75, 1, "BackingOff", {"transient": 1}, id="a transient failure backs off"),
        pytest.param(1, 1, "BackingOff", {"transient": 1}, id="a code that nobody knows"),
        pytest.param(137, 1, "BackingOff", {"transient": 1}, id="a step that was killed alone"),
        pytest.param(143, 1, "BackingOff", {"transient": 1}, id="nobody would start another pod"),
        pytest.param(69, 1, "Pending", {"outOfMemory": 1}, id="half the micro-batch"),
    ],
)
def test_a_failure_beside_a_container_is_judged_by_its_exit_code(
    code: int, attempt: int, state: str, retries: dict[str, int]
):
    world = one_iteration()
    name = end_step_beside(world, code)
    assert deleted(world) == [name]
    world.step()
    step = world.status["currentStep"]
    assert (step["attempt"], step["state"]) == (attempt, state)
    assert {cause: number for cause, number in step["retries"].items() if number} == retries


@pytest.mark.parametrize("pod", [{"deleting": True}, {"disrupted": True}])
def test_a_pod_that_is_being_ended_is_left_to_its_job(pod: dict[str, Any]):
    world = one_iteration()
    end_step_beside(world, 143, **pod)
    world.settle()
    assert stages_of(world)[-1] == "i000-train-a0"
    assert deleted(world) == []


@pytest.mark.parametrize("message", ["", "no report", builders.report(Stage.EVALUATE).to_termination_message()])
def test_a_report_beside_a_container_is_checked_like_any_other(message: str):
    world = one_iteration()
    name = end_step_beside(world, message=message)
    assert deleted(world) == [name]
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"


@pytest.mark.parametrize("message", [None, "no report"])
def test_a_container_that_fails_after_a_success_fails_the_job_and_not_the_step(message: str | None):
    world = one_iteration()
    name = world.current
    text = builders.report(Stage.TRAIN).to_termination_message() if message is None else message
    world.jobs[name] = replace(
        world.jobs[name], failed=True, failure_message="Job has reached the specified backoff limit"
    )
    world.pods[name] = [builders.pod(world.jobs[name], exit_code=0, message=text, phase="Failed")]
    world.settle()
    if message is None:
        assert stages_of(world)[-1] == "i000-evaluate-a0"
    else:
        assert world.status["currentStep"]["kind"] == "Collect"


def test_a_user_who_suspends_at_that_moment_keeps_the_result():
    world = one_iteration()
    name = end_step_beside(world)
    left = world.pods[name]
    world.spec = {**world.spec, "suspend": True}
    assert deleted(world) == [name]
    world.step()
    world.pods["left"] = left
    world.settle()
    assert world.status["phase"] == "Running"  # rule C7: its pod is still there
    del world.pods["left"]
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert world.status["iterations"][0]["steps"][0]["outcome"] == "Succeeded"


def test_a_user_who_suspends_as_it_failed_leaves_no_job_behind():
    world = one_iteration()
    name = end_step_beside(world, 75)
    world.spec = {**world.spec, "suspend": True}
    assert deleted(world) == [name]
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert world.status["currentStep"]["attempt"] == 1


# --- pods that never ran their step


def refuse(world: World, **pod: Any) -> None:
    """The pod of the current Job ends before its step was started, and the Job knows of a limit only."""
    name = world.current
    world.jobs[name] = replace(
        world.jobs[name], failed=True, failure_message="Job has reached the specified backoff limit"
    )
    values = {"phase": "Failed", "rejection": REFUSAL, "node": "n1", **pod}
    world.pods[name] = [builders.pod(world.jobs[name], **values)]


def test_fault_61_refusals_back_off_for_minutes_in_the_kubelets_words_and_cost_no_retry():
    world = one_iteration()
    pauses = []
    for _ in range(6):
        refuse(world)
        world.step()
        pauses.append(world.decide().wake_after)
        assert world.condition("Progressing")["reason"] == "BackingOff"
        assert f"ended on node n1 before it started: {REFUSAL}" in world.status["message"]
        world.seconds += pauses[-1] or 0
        world.settle()
    assert pauses == [60, 120, 240, 480, 600, 600]
    assert RunStatus.model_validate(world.status).step.retries.transient == 0
    world.end(75)
    world.step()
    assert world.decide().wake_after == 10
    assert "refused" not in world.status["currentStep"]["retries"]


def test_fault_61_refusals_are_in_a_row_until_a_container_starts_also_for_a_run_that_is_suspended_then():
    world = one_iteration()
    for _ in range(4):
        refuse(world)
        world.settle()
        world.seconds += 600
        world.settle()
    world.start()
    world.settle()
    assert "refused" not in world.status["currentStep"]["retries"]
    world.spec["suspend"] = True
    world.settle()
    world.spec["suspend"] = False
    created = len(world.created)
    world.settle()
    assert len(world.created) == created + 1  # at once


def test_fault_61_a_kubelet_that_refuses_for_ever_fails_the_run_in_its_words():
    world = training(maxIterations=1, maxDisruptions=2)
    for _ in range(3):
        refuse(world)
        world.settle()
        world.seconds += 600
        world.settle()
    assert world.condition("Failed")["reason"] == "TooManyDisruptions"
    assert REFUSAL in world.status["message"]
    assert stages_of(world)[-1] == "i000-train-a2"


def test_fault_42_an_upgrade_writes_nothing_to_a_run_that_it_finds_at_work():
    world = one_iteration()
    assert world.status["currentStep"]["retries"] == {"transient": 0, "outOfMemory": 0, "jobDeleted": 0}
    before = world.writes
    world.settle()
    assert world.writes == before


def test_fault_61_refusals_back_off_also_where_an_older_crd_does_not_keep_their_number():
    world = one_iteration()
    for _ in range(3):
        refuse(world)
        world.step()
        del world.status["currentStep"]["retries"]["refused"]
        writes = world.writes
        assert world.step().wake_after == 60
        assert world.writes == writes
        world.seconds += 60
        world.settle()
    assert stages_of(world)[-1] == "i000-train-a3"


def test_a_refusal_without_words_is_told_with_those_of_the_job():
    world = one_iteration()
    refuse(world, rejection="", node="")
    world.step()
    assert "ended before it started: Job has reached the specified backoff limit" in world.status["message"]


def test_the_pod_that_was_refused_counts_and_not_the_one_that_was_evicted_before_it():
    world = one_iteration()
    name = world.current
    evicted = builders.pod(world.jobs[name], exit_code=143, disrupted=True, uid="evicted", created=builders.NOW)
    refuse(world, created=builders.NOW + timedelta(minutes=1))
    world.pods[name].insert(0, evicted)
    world.step()
    assert RunStatus.model_validate(world.status).step.retries.refused == 1


def test_fault_61_an_init_container_that_failed_is_told_by_name_and_costs_a_retry():
    world = one_iteration()
    refuse(world, rejection="", init=InitContainer("istio-init", exit_code=255, words="exit code 255, Error: iptables"))
    world.step()
    words = "init container istio-init failed (exit code 255, Error: iptables); the step did not start"
    assert words in world.status["message"]
    assert RunStatus.model_validate(world.status).step.retries.transient == 1


KILLED = "killed (exit code 137, SIGKILL)"


@pytest.mark.parametrize(
    ("message", "words"), [("", KILLED), (None, "stopped"), ("Killed", f"{KILLED}; the end of its log: Killed")]
)
def test_fault_61_a_pod_that_was_evicted_without_the_condition_is_told_in_the_kubelets_words(
    message: str | None, words: str
):
    world = one_iteration()
    name = world.current
    report = builders.report(Stage.TRAIN, exit_code=143, message="stopped").to_termination_message()
    world.jobs[name] = replace(world.jobs[name], failed=True, failure_message="limit")
    rejection = "Evicted: low on resource: memory"
    pod = builders.pod(
        world.jobs[name], exit_code=137, rejection=rejection, message=report if message is None else message
    )
    world.pods[name] = [pod]
    world.step()
    assert f"pod {name}-x: {rejection}; {words}" in world.status["message"]


# --- pods that do not start


def test_a_run_that_was_queued_for_hours_still_tells_within_a_minute_that_no_scheduler_takes_its_pod():
    world = World()
    world.settle()
    world.jobs[world.current] = replace(world.jobs[world.current], suspended=True)
    world.settle()
    world.seconds = 7200
    job = world.jobs[world.current] = replace(world.jobs[world.current], suspended=False)
    created = builders.NOW + timedelta(seconds=world.seconds)
    world.pods[job.name] = [builders.pod(job, unclaimed_by="nobody", created=created)]
    assert world.step().wake_after == 21  # its warnings are looked at first
    world.seconds += 30
    world.settle()
    assert world.condition("Progressing")["reason"] == "NoScheduler"


# --- pods that the cluster takes away


def test_fault_61_a_disruption_is_told_once_and_the_run_says_so_until_another_pod_runs():
    world = one_iteration()
    name = world.current
    disrupted = builders.pod(
        world.jobs[name], running=True, disrupted=True, disruption="PreemptionByScheduler: preempting"
    )
    world.pods[name] = [disrupted]
    events = list(world.step().events)
    writes = world.writes
    world.pods[name] = [replace(disrupted, phase="Failed", exit_code=143, finished=builders.NOW)]
    for _ in range(3):
        events += world.step().events
    assert [(event.type, event.reason) for event in events] == [("Warning", "TrainDisrupted")]
    assert f"pod {name}-x: PreemptionByScheduler: preempting" in events[0].message
    assert world.condition("Progressing")["reason"] == "Disrupted"
    world.pods[name] += [builders.pod(world.jobs[name], running=True, uid="2", created=builders.NOW)]
    world.settle()
    assert world.condition("Progressing")["reason"] == "Training"
    assert world.writes == writes + 2
