"""Limits how many evictions and preemptions a step survives (fault 19)."""

from __future__ import annotations

from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.verdicts import GiveUp
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.reasons import Reason


def last_words(inputs: Inputs, status: RunStatus) -> str:
    """Returns what the cluster says of the newest disrupted pod of the attempt; empty if no pod was disrupted."""
    pod = next((pod for pod in reversed(inputs.pods(status)) if pod.disrupted), None)
    return f"pod {pod.name}: {pod.rejection or pod.disruption or 'disrupted'}" if pod else ""


def exceeded(inputs: Inputs, status: RunStatus) -> GiveUp | None:
    """Gives up if the step in progress has lost more pods than `spec.maxDisruptions` allows."""
    count = status.step.disruptions
    if count <= inputs.spec.max_disruptions:
        return None
    last = f", the last one: {words}" if (words := last_words(inputs, status)) else ""
    message = f"{count} pods were evicted or preempted{last}. Raise spec.maxDisruptions, then spec.retry"
    return GiveUp(Reason.TOO_MANY_DISRUPTIONS, message)
