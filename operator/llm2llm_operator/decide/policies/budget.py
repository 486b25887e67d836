"""Decides whether the budget allows an attempt, and for how long (fault 37); the arithmetic is in `llm2llm.budget`."""

from __future__ import annotations

from llm2llm import budget
from llm2llm.loop.stages import STAGES
from llm2llm_operator.build.job import block_of
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.clock import closed_seconds, open_seconds
from llm2llm_operator.decide.policies.verdicts import OverBudget
from llm2llm_operator.decide.usage import spent_by
from llm2llm_operator.model.status import RunStatus


def forbids(inputs: Inputs, status: RunStatus) -> OverBudget | None:
    """Returns the limit that forbids the attempt in `status.step` to begin, if there is one.

    Prepare costs one small request and Collect nothing, so they may always run.
    """
    step = status.step
    traits = STAGES[step.id.stage]
    if traits.once or step.collects:
        return None
    message = budget.reached_limit(
        inputs.spec.budget,
        spent_by(status),
        teacher=traits.asks_teacher,
        gpus=block_of(inputs.spec, step).gpus,
    )
    return OverBudget(message) if message else None


def exceeded(inputs: Inputs, status: RunStatus) -> OverBudget | None:
    """Returns the GPU limit that the attempt in progress has reached; the step itself checks the teacher's limits."""
    gpus = block_of(inputs.spec, status.step).gpus
    gpu_seconds = _gpu_seconds(inputs, status)
    if gpu_seconds is None:
        return None
    message = budget.reached_limit(inputs.spec.budget, spent_by(status, gpu_seconds), teacher=False, gpus=gpus)
    return OverBudget(message) if message else None


def seconds_left(inputs: Inputs, status: RunStatus) -> float | None:
    """Returns the seconds until the attempt in progress has used up the GPU time; None if nothing limits it."""
    gpu_seconds = _gpu_seconds(inputs, status)
    if gpu_seconds is None:
        return None
    gpu_seconds_left = budget.gpu_seconds_left(inputs.spec.budget, spent_by(status, gpu_seconds))
    return None if gpu_seconds_left is None else max(1.0, gpu_seconds_left / block_of(inputs.spec, status.step).gpus)


def _gpu_seconds(inputs: Inputs, status: RunStatus) -> float | None:
    """Returns the GPU seconds of this attempt that are not in status yet; None if it holds no GPU now."""
    gpus = block_of(inputs.spec, status.step).gpus
    pods = inputs.pods(status)
    running = open_seconds(pods, inputs.now)
    if running is None or not gpus:
        return None
    return (closed_seconds(pods, status.step.counted_until) + running) * gpus
