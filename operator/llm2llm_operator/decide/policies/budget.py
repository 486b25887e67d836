"""Whether the budget allows a Job, and for how long (fault 37). The reckoning itself is `llm2llm.budget`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from llm2llm import budget
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import Kind, Stage
from llm2llm_operator.build.job import block_of
from llm2llm_operator.decide.policies import deadlines
from llm2llm_operator.decide.usage import spent_by
from llm2llm_operator.model.observation import Pod
from llm2llm_operator.model.status import CurrentStep, RunStatus

REASON = "BudgetExceeded"


@dataclass(frozen=True)
class Over:
    """A limit of the budget is reached while an attempt runs."""

    message: str


def reached(spec: AugmentationRunSpec, status: RunStatus, current: CurrentStep, open_gpu_seconds: float = 0.0) -> str:
    """The limit that stands in the way of this attempt; empty where none does.

    Prepare costs one small request and Collect nothing: they are never in the way of finding out more.
    """
    if current.stage == Stage.PREPARE or current.kind == Kind.COLLECT:
        return ""
    return budget.reached_limit(
        spec.budget,
        spent_by(status, open_gpu_seconds),
        teacher=current.stage == Stage.GENERATE,
        gpus=block_of(spec, current).gpus,
    )


def check(
    spec: AugmentationRunSpec, status: RunStatus, current: CurrentStep, pods: list[Pod], now: datetime
) -> Over | deadlines.Left:
    """Whether the attempt in progress may keep its GPUs; the teacher's part is checked by the step itself."""
    gpus = block_of(spec, current).gpus
    running = deadlines.open_seconds(pods, now)
    if running is None or not gpus:
        return deadlines.Left(None)
    here = (deadlines.closed_seconds(pods, current.counted_until) + running) * gpus
    spent = spent_by(status, here)
    over = budget.reached_limit(spec.budget, spent, teacher=False, gpus=gpus)
    if over:
        return Over(over)
    left = budget.gpu_seconds_left(spec.budget, spent)
    return deadlines.Left(None if left is None else max(1.0, left / gpus))
