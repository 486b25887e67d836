"""What is counted of a run: each fact once, when the status that records it was written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from tests.support import builders
from tests.support.world import World

from llm2llm.records import Report, Stage, Usage
from llm2llm_operator.decide.actions import Plan
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.observability.status_metrics import difference


@dataclass
class Counted(World):
    """A world that counts as the operator does: after each write."""

    seen: dict[tuple[str, ...], list[float]] = field(default_factory=lambda: defaultdict(list))

    def step(self) -> Plan:
        before = RunStatus.model_validate(self.status)
        decided = super().step()
        for sample in difference("ns", before, RunStatus.model_validate(self.status)):
            [described] = sample.metric.describe()
            self.seen[described.name.removeprefix("llm2llm_"), *sample.labels].append(sample.amount)
        return decided

    def total(self, *name: str) -> float:
        return sum(self.seen.get(name, ()))

    def labels(self, metric: str) -> dict[tuple[str, ...], float]:
        """All of one metric: labels to what was counted."""
        return {name[1:]: sum(amounts) for name, amounts in self.seen.items() if name[0] == metric}

    def succeed_after(self, waits: float = 0, runs: float = 0, **changes: object) -> None:
        """The current Job's container starts after a while, runs for a while and ends well."""
        step = self.status["currentStep"]
        started = builders.NOW + timedelta(seconds=self.seconds + waits)
        self.seconds += waits + runs
        report = builders.report(Stage(step["stage"]), step["iteration"], **changes)
        self.end(0, report, started=started, finished=started + timedelta(seconds=runs))


def test_a_whole_run_is_counted_once_whatever_is_repeated():
    world = Counted()
    for _ in range(6):  # Prepare, two iterations of Train and Evaluate, one Generate
        world.settle()
        usage = Usage(teacher_requests=3, teacher_input_tokens=70, teacher_output_tokens=20)
        world.succeed_after(waits=30, runs=100, usage=usage)
    world.settle()
    assert world.status["phase"] == "Succeeded"
    assert world.labels("steps") == {
        ("Prepare", "Succeeded"): 1,
        ("Train", "Succeeded"): 2,
        ("Evaluate", "Succeeded"): 2,
        ("Generate", "Succeeded"): 1,
    }
    assert world.seen["step_seconds", "Train"] == [100, 100]
    assert world.seen["step_wait_seconds", "Train", "Pending"] == [30, 30]
    assert world.labels("runs_ended") == {("Complete", "MaxIterationsReached"): 1}
    assert (
        world.total("teacher_requests", "ns"),
        world.total("teacher_tokens", "ns", "input"),
        world.total("teacher_tokens", "ns", "output"),
    ) == (18, 420, 120)
    assert world.labels("examples") == {("ns", "kept"): 28, ("ns", "dropped"): 2}
    assert world.labels("retries") == {}


def test_a_step_that_fails_the_run_is_counted_with_its_reason():
    world = Counted()
    world.settle()
    world.end(65, "line 3 is no JSON")
    world.settle()
    assert world.labels("steps") == {("Prepare", "InvalidData"): 1}
    assert world.labels("runs_ended") == {("Failed", "InvalidData"): 1}


def training() -> Counted:
    world = Counted()
    world.settle()
    world.succeed()
    world.settle()
    return world


def lose_report(world: Counted) -> None:
    world.end(0, "no report")


def run_out_of_memory(world: Counted) -> None:
    step = world.status["currentStep"]
    report = Report(
        run_uid=builders.UID, stage=Stage.TRAIN, iteration=step.get("iteration", 0), exit_code=69, micro_batch=4
    )
    world.end(69, report)


def refuse_pod(world: Counted) -> None:
    job = replace(world.jobs[world.current], failed=True)
    world.jobs[world.current] = job
    world.pods[world.current] = [builders.pod(job, phase="Failed", rejection="OutOfcpu: Pod was rejected")]


def lose_job(world: Counted) -> None:
    world.start()
    world.settle()
    world.vanish(world.current)


def suspend(world: Counted) -> None:
    world.start()
    world.settle()
    world.spec = world.spec | {"suspend": True}
    world.settle()
    assert world.condition("Suspended")["status"] == "True"


def ask_again(world: Counted) -> None:
    world.end(70, "another experiment")
    world.settle()
    world.spec = world.spec | {"retry": 1}


@pytest.mark.parametrize(
    ("happen", "cause"),
    [
        pytest.param(lambda world: world.end(75), "transient", id="a transient failure"),
        pytest.param(refuse_pod, "refused", id="fault 61: a pod that a kubelet refused"),
        pytest.param(run_out_of_memory, "outOfMemory", id="out of GPU memory"),
        pytest.param(lose_job, "jobDeleted", id="a Job that was deleted"),
        pytest.param(lose_report, "lostReport", id="a report that was lost"),
        pytest.param(suspend, "suspended", id="a suspension"),
        pytest.param(ask_again, "asked", id="spec.retry"),
    ],
)
def test_a_further_attempt_is_counted_by_its_cause(happen: Callable[[Counted], None], cause: str):
    world = training()
    happen(world)
    world.settle()
    assert world.labels("retries") == {("Train", cause): 1}


def test_time_in_a_queue_is_told_apart_from_time_without_a_node():
    world = training()
    world.jobs[world.current] = replace(world.jobs[world.current], suspended=True)
    world.seconds += 5
    world.settle()
    assert world.status["phase"] == "Queued"
    world.seconds += 600
    world.jobs[world.current] = replace(world.jobs[world.current], suspended=False)
    job = world.jobs[world.current]
    world.pods[job.name] = [builders.pod(job, running=True, started=builders.NOW + timedelta(seconds=world.seconds))]
    world.settle()
    assert world.labels("step_wait_seconds") == {
        ("Prepare", "Pending"): 0,
        ("Train", "Pending"): 5,
        ("Train", "Queued"): 600,
    }


def test_fault_19_evicted_pods_are_counted():
    world = training()
    job = world.jobs[world.current]
    world.pods[job.name] = [builders.pod(job, exit_code=143, disrupted=True)]
    world.settle()
    world.settle()
    assert world.labels("disruptions") == {("Train",): 1}


def test_fault_39_a_node_whose_clock_is_behind_gives_no_negative_wait():
    world = training()
    started = builders.NOW - timedelta(days=1)
    world.end(0, builders.report(Stage.TRAIN), started=started, finished=started)
    world.settle()
    assert world.seen["step_wait_seconds", "Train", "Pending"] == [0]
    assert world.seen["step_seconds", "Train"] == [0]


def test_a_number_that_a_person_made_smaller_is_no_news():
    world = training()
    before = RunStatus.model_validate(world.status | {"usage": {"teacherRequests": 9}})
    after = RunStatus.model_validate(world.status | {"usage": {"teacherRequests": 1}})
    assert list(difference("ns", before, after)) == []
