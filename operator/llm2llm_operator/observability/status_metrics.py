"""Counts what a status write recorded: the difference between the status before and after it. Pure.

Counting follows the write: a repeated pass finds no difference, and so nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter, Histogram

from llm2llm.records import Kind
from llm2llm_operator.constants import COMPLETE, FAILED, REPLACING
from llm2llm_operator.model.status import CurrentStep, RunStatus, StepRecord
from llm2llm_operator.observability import metrics

AMOUNTS: tuple[tuple[Counter, tuple[str, ...], Callable[[RunStatus], float]], ...] = (
    (metrics.TEACHER_REQUESTS, (), lambda status: status.usage.teacher_requests),
    (metrics.TEACHER_TOKENS, ("input",), lambda status: status.usage.teacher_input_tokens),
    (metrics.TEACHER_TOKENS, ("output",), lambda status: status.usage.teacher_output_tokens),
    (metrics.GPU_SECONDS, (), lambda status: status.usage.gpu_seconds),
    (metrics.COST, (), lambda status: float(status.usage.cost or 0)),
    (metrics.EXAMPLES, ("kept",), lambda status: sum(row.kept for row in status.iterations)),
    (metrics.EXAMPLES, ("dropped",), lambda status: sum(row.generated - row.kept for row in status.iterations)),
)
"""Amounts in a status that only grow, each with the counter that grows with it and its labels after the namespace."""


@dataclass(frozen=True)
class Sample:
    """An amount to add to a counter, or a value for a histogram to observe."""

    metric: Counter | Histogram
    labels: tuple[str, ...]
    amount: float


def count(namespace: str, old: RunStatus, new: RunStatus) -> None:
    """Adds the difference of two statuses of a run in this namespace to the metrics."""
    for sample in difference(namespace, old, new):
        metric = sample.metric.labels(*sample.labels) if sample.labels else sample.metric
        if isinstance(metric, Histogram):
            metric.observe(sample.amount)
        else:
            metric.inc(sample.amount)


def difference(namespace: str, old: RunStatus, new: RunStatus) -> Iterator[Sample]:
    """Yields what a change of the status from `old` to `new` has to count; nothing if nothing was recorded."""
    known = {record.key for record in _records(old)}
    recorded = [record for record in _records(new) if record.key not in known]
    for record in recorded:
        stage = record.step.stage
        yield Sample(metrics.STEPS, (stage, record.step.outcome), 1)
        if record.step.outcome == "Succeeded":
            yield Sample(metrics.STEP_SECONDS, (stage,), max(0, record.step.active_seconds))
    yield from _wait_samples(old.current_step, new.current_step, recorded)
    yield from _retry_samples(old, new)
    yield from _end_samples(old, new)
    yield from _spending_samples(namespace, old, new)


@dataclass(frozen=True)
class _Recorded:
    """A ledger record with its iteration."""

    iteration: int
    step: StepRecord

    @property
    def key(self) -> tuple[str, int, str]:
        return (self.step.stage, self.iteration, self.step.outcome)


def _records(status: RunStatus) -> list[_Recorded]:
    own = [_Recorded(0, step) for step in status.steps]
    return own + [_Recorded(row.index, step) for row in status.iterations for step in row.steps]


def _wait_samples(old: CurrentStep | None, new: CurrentStep | None, recorded: list[_Recorded]) -> Iterator[Sample]:
    """Yields how long an attempt was Pending or Queued, once it is no longer."""
    if old is None or old.state not in metrics.WAITS or not old.since:
        return
    until = ""
    if new and _attempt(new) == _attempt(old):
        until = new.since if new.state != old.state else ""
    else:  # it ended before a pass saw it running
        starts = [record.step.start_time for record in recorded if record.key[:2] == (old.stage, old.iteration)]
        until = starts[0] if starts else ""
    if until:
        waited = datetime.fromisoformat(until) - datetime.fromisoformat(old.since)
        yield Sample(metrics.STEP_WAIT_SECONDS, (old.stage, old.state), max(0.0, waited.total_seconds()))


def _attempt(step: CurrentStep) -> tuple[str, int, int]:
    return (step.stage, step.iteration, step.attempt)


def _retry_samples(old: RunStatus, new: RunStatus) -> Iterator[Sample]:
    """Yields a further attempt and the evicted pods of the step in progress."""
    before, now = old.current_step, new.current_step
    if before is None or now is None or _attempt(before)[:2] != _attempt(now)[:2]:
        return
    if now.attempt > before.attempt:
        yield Sample(metrics.RETRIES, (now.stage, _cause(old, new, before, now)), 1)
    if now.disruptions > before.disruptions:
        yield Sample(metrics.DISRUPTIONS, (now.stage,), now.disruptions - before.disruptions)
    if now.requeues > before.requeues:
        yield Sample(metrics.REQUEUES, (now.stage,), now.requeues - before.requeues)


def _cause(old: RunStatus, new: RunStatus, before: CurrentStep, now: CurrentStep) -> str:
    if new.retry > old.retry:
        return "asked"
    if before.state == REPLACING:
        return "replaced"
    for cause, more in (
        ("transient", now.retries.transient > before.retries.transient),
        ("refused", (now.retries.refused or 0) > (before.retries.refused or 0)),
        ("outOfMemory", now.retries.out_of_memory > before.retries.out_of_memory),
        ("jobDeleted", now.retries.job_deleted > before.retries.job_deleted or before.kind == Kind.COLLECT),
        ("lostReport", now.kind == Kind.COLLECT),
    ):
        if more:
            return cause
    return "suspended"


def _end_samples(old: RunStatus, new: RunStatus) -> Iterator[Sample]:
    """Yields the end of a run, and the step that it failed in."""
    for kind in (COMPLETE, FAILED):
        condition = new.condition(kind)
        if condition is None or not new.is_true(kind) or old.is_true(kind):
            continue
        yield Sample(metrics.RUNS_ENDED, (kind, condition.reason), 1)
        if kind == FAILED and new.current_step:
            yield Sample(metrics.STEPS, (new.current_step.stage, condition.reason), 1)


def _spending_samples(namespace: str, old: RunStatus, new: RunStatus) -> Iterator[Sample]:
    """Yields the amounts that grew. A number that shrank was edited by a person, and is not counted."""
    for metric, labels, total in AMOUNTS:
        growth = total(new) - total(old)
        if growth > 0:
            yield Sample(metric, (namespace, *labels), growth)
