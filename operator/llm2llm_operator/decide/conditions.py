"""Sets the conditions of a run, its phase, and the message beside them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from llm2llm.plaintext import plain
from llm2llm_operator.constants import (
    BACKING_OFF,
    COMPLETE,
    FAILED,
    PROGRESSING,
    RECONCILING,
    REPLACING,
    STALLED,
    SUSPENDED,
)
from llm2llm_operator.model.status import MESSAGE_LIMIT, Condition, RunStatus


@dataclass(frozen=True)
class Moment:
    """The time of a decision, and the generation of the spec that it is made for."""

    now: datetime
    generation: int


def timestamp(moment: datetime) -> str:
    """Formats a time as RFC 3339 in seconds, as Kubernetes does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def with_condition(status: RunStatus, at: Moment, kind: str, value: bool, reason: str, message: str = "") -> RunStatus:
    """Sets one condition; its transition time changes only with its value.

    The message may quote whatever a pod, a teacher or the cluster says; it is made plain here.
    """
    old = status.condition(kind)
    text = "True" if value else "False"
    since = old.last_transition_time if old and old.status == text else timestamp(at.now)
    new = Condition(
        type=kind,
        status=text,
        reason=str(reason),
        message=plain(message)[:MESSAGE_LIMIT],
        last_transition_time=since,
        observed_generation=at.generation,
    )
    if old and old.updated(observed_generation=at.generation) == new:
        return status
    others = [condition for condition in status.conditions if condition.type != kind]
    index = next((i for i, c in enumerate(status.conditions) if c.type == kind), len(others))
    return status.updated(conditions=[*others[:index], new, *others[index:]])


def mark_observed(status: RunStatus, kind: str, generation: int) -> RunStatus:
    """Records that a condition was evaluated again for this generation of the spec and still holds."""
    conditions = [
        condition.updated(observed_generation=generation) if condition.type == kind else condition
        for condition in status.conditions
    ]
    return status.updated(conditions=conditions)


def with_progress(status: RunStatus, at: Moment, reason: str, message: str, *, value: bool) -> RunStatus:
    """Sets the condition Progressing and the one-line message of the run."""
    status = with_condition(status, at, PROGRESSING, value, reason, message)
    return status.updated(message=plain(message)[:MESSAGE_LIMIT])


def with_failure(status: RunStatus, at: Moment, reason: str, message: str) -> RunStatus:
    """Ends the run with Failed (Stalled mirrors it for kstatus); recorded successes stay."""
    status = with_condition(status, at, FAILED, True, reason, message)
    status = with_condition(status, at, STALLED, True, reason, message)
    status = with_condition(status, at, RECONCILING, False, reason)
    status = with_progress(status, at, reason, message, value=False)
    return status.updated(completion_time=timestamp(at.now))


def with_completion(status: RunStatus, at: Moment, reason: str, message: str) -> RunStatus:
    """Ends the run with Complete."""
    status = with_condition(status, at, COMPLETE, True, reason, message)
    status = with_progress(status, at, reason, message, value=False)
    return status.updated(completion_time=timestamp(at.now), active_since="", current_step=None)


def phase_of(status: RunStatus) -> str:
    """Derives the phase, for people, from the conditions; no decision depends on it."""
    if status.is_true(COMPLETE):
        return "Succeeded"
    if status.is_true(FAILED):
        return "Failed"
    if status.is_true(SUSPENDED):
        return "Suspended"
    condition, step = status.condition(PROGRESSING), status.current_step
    if condition and condition.status == "False" and step is not None:
        if step.state == "Queued":
            return "Queued"
        if step.state in ("Pending", BACKING_OFF, REPLACING):
            return "Pending"  # nothing runs, and something has to happen first
    started = bool(status.steps) or (step is not None and step.state == "Running")
    return "Running" if started else "Pending"
