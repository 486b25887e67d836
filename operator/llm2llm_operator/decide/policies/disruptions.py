"""Limits how many evictions and preemptions a step survives (fault 19)."""

from __future__ import annotations

from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.verdicts import GiveUp
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.reasons import Reason


def exceeded(inputs: Inputs, status: RunStatus) -> GiveUp | None:
    """Gives up if the step in progress has lost more pods than `spec.maxDisruptions` allows."""
    count = status.step.disruptions
    if count <= inputs.spec.max_disruptions:
        return None
    message = f"{count} pods were evicted or preempted: raise spec.maxDisruptions, then spec.retry"
    return GiveUp(Reason.TOO_MANY_DISRUPTIONS, message)
