"""An edit of the spec while a Job waits, and while its pod runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders
from tests.support.world import World, at_train

from llm2llm_operator.decide.policies.edits import APPLIES_LATER

QUEUE = {"scheduling": {"queueName": "another"}}


def edited(world: World, **changes: Any) -> World:
    world.spec = {**world.spec, **changes}
    return world


def queued(**spec: Any) -> World:
    world = at_train(**spec)
    name = world.current
    world.jobs[name] = replace(world.jobs[name], suspended=True)
    world.settle()
    assert world.status["phase"] == "Queued"
    return world


@pytest.mark.parametrize("waits", ["in a queue", "for a node", "for nothing"])
def test_fault_65_an_edit_replaces_a_job_that_has_not_started_and_costs_no_retry(waits: str):
    world = queued() if waits == "in a queue" else at_train()
    name = world.current
    if waits == "for a node":
        world.pods[name] = [builders.pod(world.jobs[name], unschedulable="0/3 nodes are available")]
    decided = edited(world, **QUEUE).step()
    assert [job.name for job in decided.delete] == [name]
    assert decided.create is None  # one pod at a time: the Job has to be gone first
    assert world.status["currentStep"]["state"] == "Replacing"
    assert (world.status["phase"], world.condition("Progressing")["reason"]) == ("Pending", "Replacing")
    world.settle()
    step = world.status["currentStep"]
    assert (step["attempt"], set(step["retries"].values())) == (1, {0})
    assert world.created[-1]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "another"
    assert world.condition("Progressing")["reason"] == "Training"
    world.start()
    world.settle()
    world.succeed()
    world.settle()
    assert world.status["currentStep"]["stage"] == "Evaluate"


def test_a_replacement_keeps_what_the_step_has_been_through_and_does_not_wait_again():
    world = at_train()
    world.end(75)
    world.settle()
    world.seconds += 3600
    world.settle()
    before = world.status["currentStep"]
    world.status["currentStep"] = before | {"disruptions": 3}
    edited(world, **QUEUE).settle()
    after = world.status["currentStep"]
    assert (after["attempt"], after["disruptions"], after["retries"]) == (2, 3, before["retries"])
    assert (after["message"], after["state"]) == (before["message"], "Pending")
    assert world.current in world.jobs


def test_a_collect_that_is_replaced_still_only_reads_the_report():
    world = at_train()
    world.start()
    world.settle()
    world.vanish(world.current)
    world.settle()
    assert world.status["currentStep"]["kind"] == "Collect"
    edited(world, prepare={"nodeSelector": {"a": "b"}}).settle()
    assert (world.status["currentStep"]["attempt"], world.status["currentStep"]["kind"]) == (2, "Collect")


def test_a_pod_that_has_ended_is_judged_and_one_that_was_evicted_is_not_waited_for():
    world = at_train()
    name = world.current
    world.pods[name] = [builders.pod(world.jobs[name], exit_code=65, message="")]
    assert edited(world, **QUEUE).step().delete == ()
    world = at_train()
    name = world.current
    world.pods[name] = [builders.pod(world.jobs[name], exit_code=137, disrupted=True)]
    assert [job.name for job in edited(world, **QUEUE).step().delete] == [name]


def test_a_job_that_is_up_to_date_or_of_an_earlier_release_stays():
    world = queued()
    name = world.current
    assert edited(world, maxIterations=5).step().delete == ()
    world.jobs[name] = replace(world.jobs[name], settings="")
    assert edited(world, **QUEUE).step().delete == ()
    assert world.current == name


def test_a_running_pod_is_left_and_the_run_says_when_the_edit_applies():
    world = at_train()
    world.start()
    world.settle()
    name = world.current
    assert edited(world, **QUEUE).settle().delete == ()
    assert (world.current, world.condition("Progressing")["reason"]) == (name, "Training")
    assert APPLIES_LATER in world.status["message"]
    edited(world, scheduling={}).settle()
    assert APPLIES_LATER not in world.status["message"]


def test_a_pod_that_starts_as_its_job_is_replaced_saves_its_work_and_its_result_counts():
    world = queued()
    name = world.current
    decided = edited(world, **QUEUE).decide()
    world.status = decided.status.to_document()  # and the operator dies before it deletes the Job
    world.jobs[name] = replace(world.jobs[name], suspended=False)
    world.start()
    world.succeed()
    world.settle()
    assert (world.status["currentStep"]["stage"], world.status["currentStep"]["attempt"]) == ("Evaluate", 0)


def test_a_job_that_only_a_finalizer_keeps_is_waited_for_and_the_finalizer_is_named():
    world = queued()
    name = world.current
    world.jobs[name] = replace(world.jobs[name], deleting=True, held_by="kueue.x-k8s.io/managed")
    decided = edited(world, suspend=True).step()
    assert decided.delete == ()
    assert f"only the finalizer kueue.x-k8s.io/managed keeps Job {name}" in world.status["message"]
