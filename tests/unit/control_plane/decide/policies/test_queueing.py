"""Why a Job is suspended, in Kueue's words where they may be read, and what a run makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support import builders
from tests.support.world import World, at_train

from llm2llm_operator.model.workload import Workload

NEW = Workload("w", queue="main")
WAITS = replace(NEW, quota="Pending", quota_words="insufficient unused quota for cpu in flavor default, 1 more needed")
PREEMPTED = replace(WAITS, eviction="Preempted", eviction_words="Preempted to accommodate a workload")


def queued(*workloads: Workload, **spec: object) -> World:
    world = World(spec=builders.spec(**spec), workloads=workloads)
    world.settle()
    world.jobs[world.current] = builders.job(world.current, state="suspended")
    world.settle()
    return world


@pytest.mark.parametrize(
    ("workload", "reason", "words"),
    [
        pytest.param(WAITS, "Queued", WAITS.quota_words, id="out of quota"),
        pytest.param(NEW, "Queued", "waiting for its queue", id="Kueue has not looked at it"),
        pytest.param(
            replace(WAITS, quota="Inadmissible", quota_words="LocalQueue main doesn't exist"),
            "Inadmissible",
            "LocalQueue main doesn't exist",
            id="no such queue",
        ),
        pytest.param(PREEMPTED, "Preempted", f"{PREEMPTED.eviction_words}; {WAITS.quota_words}", id="preempted"),
        pytest.param(
            replace(PREEMPTED, quota_words=PREEMPTED.eviction_words),
            "Preempted",
            f"suspended: {PREEMPTED.eviction_words}",
            id="preempted just now: Kueue says it twice",
        ),
        pytest.param(
            replace(WAITS, eviction="PodsReadyTimeout", eviction_words="Exceeded the PodsReady timeout"),
            "Requeued",
            "Exceeded the PodsReady timeout; insufficient",
            id="evicted for another reason",
        ),
        pytest.param(
            replace(WAITS, active=False, eviction="Deactivated", eviction_words="The workload is deactivated"),
            "Deactivated",
            "Workload w is deactivated (The workload is deactivated): set its spec.active to true",
            id="deactivated",
        ),
        pytest.param(
            replace(NEW, check_words="check x is Pending"), "Queued", "check x is Pending", id="an admission check"
        ),
        pytest.param(
            replace(
                WAITS,
                quota_words="At least one admission check is false",
                eviction="AdmissionCheck",
                eviction_words="At least one admission check is false",
                check_words="check x is Pending: Previously: Retry",
            ),
            "Requeued",
            "At least one admission check is false; check x is Pending: Previously: Retry",
            id="an admission check that Kueue tries again",
        ),
        pytest.param(
            replace(WAITS, quota="Inadmissible", quota_words="no such queue", check_words="check x is Pending"),
            "Inadmissible",
            "suspended: no such queue",
            id="no such queue any more, after an admission check",
        ),
    ],
)
def test_a_suspended_job_waits_in_kueues_words(workload: Workload, reason: str, words: str):
    world = queued(workload)
    assert (world.status["phase"], world.condition("Progressing")["reason"]) == ("Queued", reason)
    assert words in world.status["message"]


@pytest.mark.parametrize(
    ("scheduling", "words"),
    [
        ({}, "resume the Job, or set spec.scheduling.queueName"),
        ({"cpuQueueName": "cpus"}, "resume the Job, or set spec.scheduling.queueName"),
        ({"queueName": "main"}, "check that Kueue is running"),
        ({"queueName": "main", "workloadPriorityClassName": "high"}, "namespace, and that WorkloadPriorityClass high exists"),
    ],
)  # fmt: skip
def test_a_job_without_a_workload_says_what_to_check(scheduling: dict[str, str], words: str):
    world = at_train(scheduling=scheduling)
    world.workloads = ()
    world.jobs[world.current] = replace(world.jobs[world.current], suspended=True)
    world.settle()
    assert (world.status["phase"], world.condition("Progressing")["reason"]) == ("Queued", "NoWorkload")
    assert words in world.status["message"]


def test_prepare_without_a_workload_names_the_queue_of_cpus():
    assert "or set spec.scheduling.cpuQueueName" in queued(scheduling={"queueName": "gpus"}).status["message"]
    assert "check that Kueue is running" in queued(scheduling={"cpuQueueName": "cpus"}).status["message"]


def test_a_job_without_a_queue_where_kueue_manages_all_names_the_field_that_gives_it_one():
    world = queued(Workload("w"), scheduling={"queueName": "gpus"})
    assert (world.status["phase"], world.condition("Progressing")["reason"]) == ("Queued", "Inadmissible")
    assert "set spec.scheduling.cpuQueueName to a LocalQueue" in world.status["message"]
    world = at_train(scheduling={"cpuQueueName": "cpus"})
    world.workloads = (Workload("w"),)
    world.jobs[world.current] = replace(world.jobs[world.current], suspended=True)
    world.settle()
    assert "set spec.scheduling.queueName to a LocalQueue" in world.status["message"]


def test_where_workloads_may_not_be_read_a_queue_is_all_that_is_known():
    world = World()
    world.settle()
    world.jobs[world.current] = builders.job(world.current, state="suspended")
    assert world.settle().wake_after is None
    assert world.condition("Progressing")["reason"] == "Queued"


def test_kueue_is_asked_after_twenty_seconds_and_then_ever_less_often():
    world = queued(WAITS)
    waits = []
    for seconds in (0, 20, 60, 4000):
        world.seconds = seconds
        waits.append(world.step().wake_after)
    assert waits == [21, 20, 60, 300]


def test_a_preemption_is_counted_and_told_once_and_costs_no_retry():
    world = at_train()
    world.start()
    world.settle()
    name = world.current
    world.jobs[name] = replace(world.jobs[name], suspended=True)
    world.workloads = (PREEMPTED,)
    world.settle()
    assert world.condition("Progressing")["reason"] == "Training"  # its pod still saves a checkpoint
    world.pods[name] = []
    decided = world.step()
    assert [(event.reason, PREEMPTED.eviction_words in event.message) for event in decided.events] == [
        ("TrainRequeued", True)
    ]
    assert world.settle().events == ()
    step = world.status["currentStep"]
    assert (step["requeues"], step["attempt"], world.current) == (1, 0, name)
    assert (world.status["phase"], world.condition("Progressing")["reason"]) == ("Queued", "Preempted")
    world.jobs[name] = replace(world.jobs[name], suspended=False)
    world.settle()
    assert (world.status["phase"], world.condition("Progressing")["reason"]) == ("Running", "Training")
    world.start()
    world.settle()
    assert world.status["currentStep"]["requeues"] == 1
    world.end(1)
    world.settle()
    assert (world.status["currentStep"]["attempt"], world.status["currentStep"]["requeues"]) == (1, 1)
