"""Decides when to delete a run that has ended (`spec.ttlSecondsAfterFinished`, as in the Kubernetes Job API)."""

from __future__ import annotations

from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.model.status import RunStatus


def seconds_left(inputs: Inputs, status: RunStatus) -> float | None:
    """Returns the seconds until an ended run is deleted, 0 if the time has passed; None if it is kept."""
    ttl = inputs.spec.ttl_seconds_after_finished
    if ttl is None or not status.completion_time:
        return None
    return max(0.0, ttl - inputs.seconds_since(status.completion_time))
