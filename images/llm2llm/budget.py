"""Computes what a run has spent, its cost, and which limit of its budget is reached. Pure; used by both planes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from llm2llm.api.policy import Budget, Prices
from llm2llm.records import Usage

SECONDS_PER_HOUR = 3600
PER_PRICE = 1_000_000
"""Number of tokens that a price is for."""


@dataclass(frozen=True)
class Spent:
    """Teacher usage and GPU seconds (GPUs multiplied by the seconds that containers held them)."""

    usage: Usage = field(default_factory=Usage)
    gpu_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens in both directions."""
        return self.usage.teacher_input_tokens + self.usage.teacher_output_tokens


def cost(spent: Spent, prices: Prices) -> Decimal:
    """Returns the cost, in the currency of the prices."""
    tokens = spent.usage.teacher_input_tokens * Decimal(prices.input_per_million)
    tokens += spent.usage.teacher_output_tokens * Decimal(prices.output_per_million)
    return tokens / PER_PRICE + Decimal(str(spent.gpu_seconds)) * Decimal(prices.gpu_hour) / SECONDS_PER_HOUR


def reached_limit(budget: Budget, spent: Spent, *, teacher: bool, gpus: int) -> str:
    """Describes the limit that does not allow a step, with both numbers; '' if there is none.

    Args:
        budget: `spec.budget`.
        spent: so far.
        teacher: whether the step sends requests to the teacher.
        gpus: number of GPUs that the step holds while it runs.
    """
    if teacher and budget.max_teacher_tokens is not None and spent.tokens >= budget.max_teacher_tokens:
        return (
            f"{spent.tokens} teacher tokens have been used; spec.budget.maxTeacherTokens is {budget.max_teacher_tokens}"
        )
    if gpus and budget.max_gpu_hours is not None:
        hours = Decimal(str(spent.gpu_seconds)) / SECONDS_PER_HOUR
        if hours >= Decimal(budget.max_gpu_hours):
            return f"{hours:.2f} GPU hours have been used; spec.budget.maxGPUHours is {budget.max_gpu_hours}"
    if (teacher or gpus) and budget.max_cost is not None and budget.prices is not None:
        money = cost(spent, budget.prices)
        if money >= Decimal(budget.max_cost):
            return f"{money:.4f} has been spent; spec.budget.maxCost is {budget.max_cost}"
    return ""


def gpu_seconds_left(budget: Budget, spent: Spent) -> float | None:
    """Returns the GPU seconds until a limit is reached if only GPUs cost anything; None if there is no such limit."""
    remaining: list[Decimal] = []
    if budget.max_gpu_hours is not None:
        remaining.append(Decimal(budget.max_gpu_hours) * SECONDS_PER_HOUR - Decimal(str(spent.gpu_seconds)))
    if budget.max_cost is not None and budget.prices is not None and Decimal(budget.prices.gpu_hour):
        money = Decimal(budget.max_cost) - cost(spent, budget.prices)
        remaining.append(money / Decimal(budget.prices.gpu_hour) * SECONDS_PER_HOUR)
    return float(max(Decimal(0), min(remaining))) if remaining else None
