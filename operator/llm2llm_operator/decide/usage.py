"""Counts what a run has spent: teacher tokens, active time, GPU time, and their cost. Pure.

A step's report has the totals of its whole ledger, failed attempts included, so each report replaces the numbers of
earlier reports of the same step. Time is counted when an interval closes.
"""

from __future__ import annotations

from decimal import Decimal

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.budget import Spent, cost
from llm2llm.loop.steps import iterations_in_all
from llm2llm.records import Usage
from llm2llm_operator.model.status import RunStatus, TeacherUsage


def with_teacher_usage(status: RunStatus, reported: Usage) -> RunStatus:
    """Counts the teacher usage in the newest report of the step in progress, in place of that in earlier ones.

    A report with lower numbers than an earlier one (from an attempt that failed before it read the ledger) changes
    nothing.
    """
    before = status.step.teacher_usage
    now = TeacherUsage(
        requests=max(before.requests, reported.teacher_requests),
        input_tokens=max(before.input_tokens, reported.teacher_input_tokens),
        output_tokens=max(before.output_tokens, reported.teacher_output_tokens),
    )
    usage = status.usage.updated(
        teacher_requests=status.usage.teacher_requests + now.requests - before.requests,
        teacher_input_tokens=status.usage.teacher_input_tokens + now.input_tokens - before.input_tokens,
        teacher_output_tokens=status.usage.teacher_output_tokens + now.output_tokens - before.output_tokens,
    )
    return status.updated(usage=usage).with_step(teacher_usage=now)


def with_active_seconds(status: RunStatus, seconds: float, gpus: int) -> RunStatus:
    """Adds an interval in which containers of the step in progress ran to the usage of run, step and GPUs."""
    spent = round(seconds)
    return status.updated(
        active_seconds=status.active_seconds + spent,
        active_since="",
        usage=status.usage.updated(gpu_seconds=status.usage.gpu_seconds + spent * gpus),
    ).with_step(active_seconds=status.step.active_seconds + spent)


def spent_by(status: RunStatus, open_gpu_seconds: float = 0.0) -> Spent:
    """Returns what the run spent so far; `open_gpu_seconds`, of the running container, are not in status yet."""
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
    """Computes the cost if the user gave prices, and sets the printer field, in money or in tokens."""
    prices = spec.budget.prices
    spent = spent_by(status)
    if prices is None:
        tokens = f"{spent.tokens} tokens" if spent.tokens else ""
        return status.updated(summary=status.summary.updated(cost=tokens))
    money = cost(spent, prices)
    begun = len(status.iterations)
    projected = money / begun * max(begun, iterations_in_all(spec)) if begun else None
    usage = status.usage.updated(
        cost=_amount(money), projected_cost=_amount(projected) if projected is not None else ""
    )
    return status.updated(usage=usage, summary=status.summary.updated(cost=_amount(money)))


def _amount(money: Decimal) -> str:
    """Formats money with four decimals: a small run costs less than a cent."""
    return f"{money:.4f}"
