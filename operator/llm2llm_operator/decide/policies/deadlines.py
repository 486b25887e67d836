"""Deadlines of the run, of a step, and of a start (rule C16): the operator's, since a Job's would count pending time.

A step is active while its container runs. What ran before is in status (`activeSeconds`); what runs now is read from
the pods, so a ticking clock costs no write.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from llm2llm.api.pods import StepBlock
from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.model.observation import Pod
from llm2llm_operator.model.status import CurrentStep, RunStatus


@dataclass(frozen=True)
class Exceeded:
    """A deadline is over."""

    reason: str
    message: str


@dataclass(frozen=True)
class Left:
    """Seconds until the nearest deadline, None where none is set or its clock does not run."""

    seconds: float | None


def closed_seconds(pods: list[Pod], counted_until: str = "") -> int:
    """Seconds that ended containers of these pods ran; a negative interval (clock skew) counts as none.

    Args:
        pods: of one attempt's Job; they run one after the other.
        counted_until: ends until this RFC 3339 time are in the account already.
    """
    known = datetime.fromisoformat(counted_until) if counted_until else None
    ended = [pod for pod in pods if pod.finished and (known is None or pod.finished > known)]
    spans = [(pod.finished - pod.started).total_seconds() for pod in ended if pod.started and pod.finished]
    return round(sum(max(0.0, span) for span in spans))


def open_seconds(pods: list[Pod], now: datetime) -> float | None:
    """Seconds that the running container runs, or None where none does."""
    spans = [(now - pod.started).total_seconds() for pod in pods if pod.started and not pod.finished]
    return max(0.0, *spans, 0.0) if spans else None


def check(
    spec: AugmentationRunSpec, block: StepBlock, status: RunStatus, current: CurrentStep, pods: list[Pod], now: datetime
) -> Exceeded | Left:
    """Whether an attempt in progress may go on.

    Args:
        spec: for the run's own deadline.
        block: the step block, for its deadlines.
        status: closed seconds of the run.
        current: closed seconds of the step, and since when it waits.
        pods: of the attempt's Job.
        now: the operator's clock.
    """
    running = open_seconds(pods, now)
    here = closed_seconds(pods, current.counted_until) + (running or 0.0)
    limits = [
        (
            spec.active_deadline_seconds,
            status.active_seconds + here,
            "spec.activeDeadlineSeconds",
            "the run was active",
        ),
        (block.active_deadline_seconds, current.active_seconds + here, "activeDeadlineSeconds", "the step was active"),
    ]
    left: list[float] = []
    for limit, spent, field, words in limits:
        if limit and spent >= limit:
            return Exceeded("DeadlineExceeded", f"{words} for {spent:.0f} s, {field} is {limit}")
        if limit and running is not None:
            left.append(limit - spent)
    start_limit = block.startup_deadline_seconds
    if start_limit and running is None and not any(pod.started for pod in pods) and current.state == "Pending":
        waited = max(0.0, (now - datetime.fromisoformat(current.since)).total_seconds())
        if waited >= start_limit:
            return Exceeded("StartupDeadlineExceeded", f"no container started in {start_limit} s: {status.message}")
        left.append(start_limit - waited)
    return Left(max(1.0, min(left)) if left else None)
