"""`plan` under random histories of Jobs, pods, clocks and edits."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support import builders
from tests.support.manifests import environment
from tests.support.world import World

from llm2llm.errors import ExitCode
from llm2llm.loop.outcomes import CLOSING
from llm2llm.records import Stage, Usage
from llm2llm_operator.model.status import RunStatus

CODES = some.sampled_from([*[int(code) for code in ExitCode if code != 0], 1, 137])
MESSAGES = some.sampled_from(["", "garbage", '{"stage":"Train"}', "x" * 5000])


class Histories(RuleBasedStateMachine):
    """Whatever the cluster and people do, between passes of the operator."""

    def __init__(self) -> None:
        super().__init__()
        data = {**builders.spec()["data"], "test": {"uri": "s3://b/test.jsonl"}}
        gpus = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
        self.world = World(spec=builders.spec(maxIterations=2, data=data, train=gpus))
        self.generation_at_end = 0
        self.created = 0
        self.succeeded: set[tuple[str, int]] = set()
        self.ended_as: str | None = None
        self.retry = 0

    @initialize(
        errors_from=some.sampled_from(["Seed", "Probe"]), augment_from=some.sampled_from(["Seed", "SeedAndSynthetic"])
    )
    def user_chooses(self, errors_from: str, augment_from: str) -> None:
        self.world.spec = {**self.world.spec, "errorsFrom": errors_from, "augmentFrom": augment_from}

    def live(self) -> bool:
        current = self.world.status.get("currentStep")
        job = self.world.jobs.get(current["jobName"]) if current else None
        return job is not None and not job.ended

    @rule()
    def one_pass(self) -> None:
        self.world.step()

    @rule()
    def passes_until_nothing_changes(self) -> None:
        decided = self.world.settle()
        # plan(plan's own outcome) asks for nothing new, and says when to look again or what it waits for
        again = self.world.decide()
        assert again.create is None or again.create["metadata"]["name"] in self.world.jobs
        phase = self.world.status["phase"]
        assert (
            phase in ("Succeeded", "Failed", "Suspended") or self.live() or decided.wake_after or again.confirm_deleted
        )
        assert self.world.status["message"]

    @precondition(live)
    @rule()
    def container_starts(self) -> None:
        self.world.start()

    @precondition(live)
    @rule(mistakes=some.integers(0, 3), paid=some.sampled_from([0, 400, 5000]))
    def step_succeeds(self, mistakes: int, paid: int) -> None:
        usage = {"usage": Usage(teacher_requests=1, teacher_input_tokens=paid)}
        self.world.succeed(mistakes=mistakes, **usage)

    @rule(count=some.integers(1, 12))
    def steps_succeed_one_after_the_other(self, count: int) -> None:
        """Without it no history would come as far as a closing iteration, or a run that goes on after its end."""
        for _ in range(count):
            self.world.settle()
            self.no_job_begins_beyond_the_budget()
            if not self.live():
                return
            self.world.succeed(mistakes=2)

    @precondition(live)
    @rule(code=CODES, message=MESSAGES)
    def step_fails(self, code: int, message: str) -> None:
        self.world.end(code, message)

    @precondition(live)
    @rule(code=CODES, paid=some.sampled_from([10, 700]))
    def step_fails_and_tells_what_it_paid(self, code: int, paid: int) -> None:
        current = self.world.status["currentStep"]
        usage = Usage(teacher_requests=1, teacher_input_tokens=paid)
        report = builders.report(Stage(current["stage"]), current["iteration"], exit_code=code, usage=usage)
        self.world.end(code, report)

    @precondition(live)
    @rule(message=MESSAGES)
    def report_is_lost(self, message: str) -> None:
        self.world.end(0, message)

    @precondition(live)
    @rule()
    def somebody_deletes_the_job(self) -> None:
        self.world.vanish(self.world.current)

    @precondition(live)
    @rule(suspended=some.booleans())
    def queue_acts(self, suspended: bool) -> None:
        name = self.world.current
        self.world.jobs[name] = replace(self.world.jobs[name], suspended=suspended)
        if suspended:
            self.world.pods[name] = []

    @precondition(live)
    @rule()
    def the_end_is_decided_but_a_pod_stays(self) -> None:
        name = self.world.current
        self.world.jobs[name] = replace(self.world.jobs[name], ending_since=builders.NOW)

    @precondition(live)
    @rule()
    def pod_is_evicted(self) -> None:
        name = self.world.current
        evicted = builders.pod(self.world.jobs[name], exit_code=137, disrupted=True, uid=f"{name}-evicted")
        self.world.pods[name] = [evicted]

    @precondition(live)
    @rule(code=some.sampled_from([0, 65, 69, 75, 143]), message=MESSAGES)
    def step_ends_beside_a_container_that_runs_on(self, code: int, message: str) -> None:
        name = self.world.current
        told: dict[str, Any] = {"phase": "Running", "beside": "istio-proxy", "message": message}
        self.world.pods[name] = [builders.pod(self.world.jobs[name], exit_code=code, **told)]

    @precondition(live)
    @rule()
    def kubelet_refuses_the_pod(self) -> None:
        name = self.world.current
        job = self.world.jobs[name] = replace(self.world.jobs[name], failed=True, failure_message="limit")
        self.world.pods[name] = [builders.pod(job, phase="Failed", rejection="OutOfcpu: Pod was rejected")]

    @rule(seconds=some.sampled_from([-3600.0, 0.5, 5.0, 30.0, 400.0, 90000.0]))
    def clock_moves(self, seconds: float) -> None:
        self.world.seconds += seconds

    @rule(suspend=some.booleans())
    def user_suspends(self, suspend: bool) -> None:
        self.world.spec = {**self.world.spec, "suspend": suspend}

    @rule()
    def user_retries(self) -> None:
        self.retry += 1
        self.world.spec = {**self.world.spec, "retry": self.retry}

    @rule(count=some.integers(1, 4))
    def user_changes_max_iterations(self, count: int) -> None:
        self.world.spec = {**self.world.spec, "maxIterations": count}

    @rule(queue=some.sampled_from(["", "gpus", "others"]))
    def user_changes_the_queue(self, queue: str) -> None:
        self.world.spec = {**self.world.spec, "scheduling": {"queueName": queue}}

    @rule(deadline=some.sampled_from([None, 60, 100000]))
    def user_changes_the_deadline(self, deadline: int | None) -> None:
        self.world.spec = {**self.world.spec, "activeDeadlineSeconds": deadline}

    @rule(
        limits=some.sampled_from(
            [
                {},
                {"maxTeacherTokens": 500},
                {"maxTeacherTokens": 10**6},
                {"maxGPUHours": "0.1"},
                {"maxGPUHours": "1000"},
            ]
        ),
        then=some.sampled_from(["Suspend", "Complete", "Fail"]),
    )
    def user_changes_the_budget(self, limits: dict[str, Any], then: str) -> None:
        self.world.spec = {**self.world.spec, "budget": {**limits, "onExceeded": then}}

    @invariant()
    def no_job_begins_beyond_the_budget(self) -> None:
        new, self.created = self.world.created[self.created :], len(self.world.created)
        usage = self.world.status.get("usage", {})
        budget = self.world.spec.get("budget", {})
        for body in new:
            labels = body["metadata"]["labels"]
            if json.loads(environment(body)["LLM2LLM_STEP"])["kind"] == "Collect":
                continue
            if labels["llm2llm.dev/stage"] == "generate":
                assert usage.get("teacherInputTokens", 0) < budget.get("maxTeacherTokens", math.inf)
            if labels["llm2llm.dev/stage"] == "train":
                assert usage.get("gpuSeconds", 0) < float(budget.get("maxGPUHours", "inf")) * 3600

    @invariant()
    def at_most_one_job_is_alive(self) -> None:
        assert sum(not job.ended for job in self.world.jobs.values()) <= 1

    @invariant()
    def a_recorded_step_stays_recorded_and_is_recorded_once(self) -> None:
        status = RunStatus.model_validate(self.world.status)
        recorded = [(r.stage, 0) for r in status.steps if r.outcome == "Succeeded"] + [
            (r.stage, row.index) for row in status.iterations for r in row.steps if r.outcome == "Succeeded"
        ]
        assert len(recorded) == len(set(recorded))
        assert self.succeeded <= set(recorded)
        self.succeeded = set(recorded)

    @invariant()
    def only_a_closing_iteration_is_best_while_a_run_probes(self) -> None:
        best = self.world.status.get("best")
        if self.world.spec.get("errorsFrom") == "Probe" and best and best["iteration"] < CLOSING:
            ended = [self.world.condition(kind) for kind in ("Complete", "Failed", "Suspended")]
            testing = self.world.status.get("currentStep", {}).get("stage") == "Test"
            assert testing or any(c.get("reason") == "BudgetExceeded" for c in ended)

    @invariant()
    def a_closing_iteration_writes_nothing(self) -> None:
        status = RunStatus.model_validate(self.world.status)
        closings = [row for row in status.iterations if row.index >= CLOSING]
        assert all(record.stage != "Generate" for row in closings for record in row.steps)
        assert self.world.spec.get("errorsFrom") == "Probe" or not closings

    @invariant()
    def complete_stays_complete(self) -> None:
        if self.ended_as == "Succeeded" and self.world.generation == self.generation_at_end:
            assert self.world.status["phase"] == "Succeeded"
        self.ended_as = self.world.status.get("phase")
        self.generation_at_end = self.world.generation

    @invariant()
    def counts_are_never_negative(self) -> None:
        assert self.world.status.get("activeSeconds", 0) >= 0
        assert self.world.status.get("usage", {}).get("gpuSeconds", 0) >= 0
        assert self.world.status.get("currentStep", {}).get("attempt", 0) >= 0


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=int(os.environ.get("LLM2LLM_HISTORIES", "50")),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
