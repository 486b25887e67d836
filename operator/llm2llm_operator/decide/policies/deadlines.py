"""Enforces the deadlines of the run, of a step, and of its start (rule C16): a Job's own would count pending time."""

from __future__ import annotations

from llm2llm_operator.build.job import block_of
from llm2llm_operator.decide.actions import earliest
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.clock import closed_seconds, open_seconds
from llm2llm_operator.decide.policies.verdicts import GiveUp
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.reasons import Reason

ADVICE = "Raise the deadline, then spec.retry"


def exceeded(inputs: Inputs, status: RunStatus) -> GiveUp | None:
    """Returns the deadline that the attempt in progress has reached, if any."""
    for limit, spent, field, words in _active_limits(inputs, status):
        if limit and spent >= limit:
            message = f"{words} for {spent:.0f} s; {field} is {limit}. {ADVICE}"
            return GiveUp(Reason.DEADLINE_EXCEEDED, message)
    limit = block_of(inputs.spec, status.step).startup_deadline_seconds
    if limit and _is_starting(inputs, status) and inputs.seconds_since(status.step.since) >= limit:
        message = f"no container started within {limit} s: {status.message}. {ADVICE}"
        return GiveUp(Reason.STARTUP_DEADLINE_EXCEEDED, message)
    return None


def seconds_left(inputs: Inputs, status: RunStatus) -> float | None:
    """Returns the seconds until the nearest deadline; None if none is set or its clock is not running."""
    left: list[float | None] = []
    if open_seconds(inputs.pods(status), inputs.now) is not None:
        left += [limit - spent for limit, spent, _, _ in _active_limits(inputs, status) if limit]
    limit = block_of(inputs.spec, status.step).startup_deadline_seconds
    if limit and _is_starting(inputs, status):
        left.append(limit - inputs.seconds_since(status.step.since))
    nearest = earliest(*left)
    return None if nearest is None else max(1.0, nearest)


def _active_limits(inputs: Inputs, status: RunStatus) -> list[tuple[int | None, float, str, str]]:
    """Returns each limit on active time, the time spent, the name of its field, and words for a message."""
    pods = inputs.pods(status)
    attempt_seconds = closed_seconds(pods, status.step.counted_until) + (open_seconds(pods, inputs.now) or 0.0)
    spec, block = inputs.spec, block_of(inputs.spec, status.step)
    return [
        (
            spec.active_deadline_seconds,
            status.active_seconds + attempt_seconds,
            "spec.activeDeadlineSeconds",
            "the run has been active",
        ),
        (
            block.active_deadline_seconds,
            status.step.active_seconds + attempt_seconds,
            "activeDeadlineSeconds",
            "the step has been active",
        ),
    ]


def _is_starting(inputs: Inputs, status: RunStatus) -> bool:
    """Returns whether no container of this attempt has started yet, and no queue holds it back."""
    return status.step.state == "Pending" and not any(pod.started for pod in inputs.pods(status))
