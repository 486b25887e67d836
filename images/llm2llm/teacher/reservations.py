"""Checks before each request what may still be spent on the teacher, and reserves the cost of requests in flight.

A budget is therefore never exceeded by more than the requests in flight cost beyond their reservations (fault 37).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from llm2llm.api.policy import Budget
from llm2llm.budget import Spent, reached_limit
from llm2llm.errors import BudgetReached
from llm2llm.records import Usage, total_usage

FIRST_OUTPUT = 1024
"""Maximum tokens expected of an answer before the first one has come, if no limit is set."""
MARGIN = 2
"""An answer is expected to be at most this many times as long as the longest one so far."""


@dataclass
class BudgetReservations:
    """The teacher's part of the budget of one generation step.

    Args:
        budget: `spec.budget`.
        spent: what the whole run has spent so far, this step's ledger included.
        output_limit: `max_tokens` of the teacher's parameters, 0 for none.
    """

    budget: Budget
    spent: Spent
    output_limit: int = 0
    _longest: int = 0
    _reserved: list[Usage] = field(default_factory=list)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self, input_tokens: int) -> Usage:
        """Waits until the request fits beside those in flight; returns the usage that is reserved for it.

        Raises:
            BudgetReached: the request does not fit even alone.
        """
        while True:
            wanted = Usage(
                teacher_requests=1, teacher_input_tokens=input_tokens, teacher_output_tokens=self._expected_output()
            )
            exceeded = reached_limit(
                self.budget, self._spent_with([*self._reserved, wanted], less=1), teacher=True, gpus=0
            )
            if not exceeded:
                self._reserved.append(wanted)
                return wanted
            if not self._reserved:
                raise BudgetReached(
                    f"{self._budget_message(exceeded)}; the answers so far are recorded and will not be paid for again"
                )
            self._settled.clear()
            await self._settled.wait()

    def settle(self, reserved: Usage, actual: Usage) -> None:
        """Replaces the reservation of a finished request by its actual cost."""
        self._reserved.remove(reserved)
        self.spent = self._spent_with([actual])
        self._longest = max(self._longest, actual.teacher_output_tokens)
        self._settled.set()

    def _expected_output(self) -> int:
        return self.output_limit or (self._longest * MARGIN if self._longest else FIRST_OUTPUT)

    def _spent_with(self, more: list[Usage], less: int = 0) -> Spent:
        """Returns `spent` plus `more`, minus `less` tokens, since a budget may be used up to its last token."""
        usage = total_usage(self.spent.usage, *more)
        last = max(0, usage.teacher_output_tokens - less)
        return replace(self.spent, usage=usage.model_copy(update={"teacher_output_tokens": last}))

    def _budget_message(self, over: str) -> str:
        reached = reached_limit(self.budget, self.spent, teacher=True, gpus=0)
        return reached or f"the next request could exceed the budget ({_in_conditional(over)})"


def _in_conditional(over: str) -> str:
    """Rephrases the text of `reached_limit` for usage that is reserved and not spent yet."""
    return over.replace("have been", "would be").replace("has been", "would be")
