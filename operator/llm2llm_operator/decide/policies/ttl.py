"""When a run that has ended is deleted (`spec.ttlSecondsAfterFinished`, as of a Kubernetes Job)."""

from __future__ import annotations

from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.model.status import RunStatus


def seconds_left(inputs: Inputs, status: RunStatus) -> float | None:
    """Seconds until an ended run goes, 0 where its time is over; None where it stays."""
    ttl = inputs.spec.ttl_seconds_after_finished
    if ttl is None or not status.completion_time:
        return None
    return max(0.0, ttl - inputs.seconds_since(status.completion_time))
