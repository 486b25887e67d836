"""What a run has spent: teacher tokens, active time, GPU time, and the money for them. Pure.

A step's report tells what its whole ledger holds, failed attempts included, so each report replaces what the reports of
the same step told before it. Time is counted when an interval closes.
"""

from __future__ import annotations

from decimal import Decimal

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.budget import Spent, cost
from llm2llm.loop.steps import iterations_in_all
from llm2llm.records import Usage
from llm2llm_operator.model.status import CurrentStep, RunStatus, TeacherUsage


def with_teacher_usage(status: RunStatus, current: CurrentStep, told: Usage) -> tuple[RunStatus, CurrentStep]:
    """Counts what a step's newest report told, in place of what its earlier ones told.

    A report that tells less than an earlier one (an attempt that failed before it read the ledger) changes nothing.
    """
    before = current.teacher_usage
    now = TeacherUsage(
        requests=max(before.requests, told.teacher_requests),
        input_tokens=max(before.input_tokens, told.teacher_input_tokens),
        output_tokens=max(before.output_tokens, told.teacher_output_tokens),
    )
    usage = status.usage.model_copy(
        update={
            "teacher_requests": status.usage.teacher_requests + now.requests - before.requests,
            "teacher_input_tokens": status.usage.teacher_input_tokens + now.input_tokens - before.input_tokens,
            "teacher_output_tokens": status.usage.teacher_output_tokens + now.output_tokens - before.output_tokens,
        }
    )
    return status.model_copy(update={"usage": usage}), current.model_copy(update={"teacher_usage": now})


def with_active(status: RunStatus, current: CurrentStep, seconds: float, gpus: int) -> tuple[RunStatus, CurrentStep]:
    """Closes an interval in which containers of this step ran: run, step and GPUs get it into their accounts."""
    spent = round(seconds)
    usage = status.usage.model_copy(update={"gpu_seconds": status.usage.gpu_seconds + spent * gpus})
    status = status.model_copy(
        update={"active_seconds": status.active_seconds + spent, "active_since": "", "usage": usage}
    )
    return status, current.model_copy(update={"active_seconds": current.active_seconds + spent})


def spent_by(status: RunStatus, open_gpu_seconds: float = 0.0) -> Spent:
    """What the run spent so far; `open_gpu_seconds` of the container that runs now are not in status yet."""
    usage = status.usage
    return Spent(
        Usage(
            teacher_requests=usage.teacher_requests,
            teacher_input_tokens=usage.teacher_input_tokens,
            teacher_output_tokens=usage.teacher_output_tokens,
        ),
        usage.gpu_seconds + open_gpu_seconds,
    )


def with_cost(status: RunStatus, spec: AugmentationRunSpec) -> RunStatus:
    """Money where the user told prices, and the printer field for either."""
    prices = spec.budget.prices
    spent = spent_by(status)
    if prices is None:
        told = f"{spent.tokens} tokens" if spent.tokens else ""
        summary = status.summary.model_copy(update={"cost": told})
        return status.model_copy(update={"summary": summary})
    money = cost(spent, prices)
    begun = len(status.iterations)
    projected = money / begun * max(begun, iterations_in_all(spec)) if begun else None
    usage = status.usage.model_copy(
        update={"cost": _amount(money), "projected_cost": _amount(projected) if projected is not None else ""}
    )
    summary = status.summary.model_copy(update={"cost": _amount(money)})
    return status.model_copy(update={"usage": usage, "summary": summary})


def _amount(money: Decimal) -> str:
    """Four decimals: a small run costs less than a cent."""
    return f"{money:.4f}"
