from __future__ import annotations

import asyncio

import pytest

from llm2llm.api.policy import Budget
from llm2llm.budget import Spent
from llm2llm.errors import BudgetReached
from llm2llm.records import Usage
from llm2llm.teacher.reservations import FIRST_OUTPUT, BudgetReservations


def tokens(limit: int) -> Budget:
    return Budget(max_teacher_tokens=limit)


def spent(tokens: int) -> Spent:
    return Spent(Usage(teacher_requests=1, teacher_input_tokens=tokens))


def used(input_tokens: int, output_tokens: int) -> Usage:
    return Usage(teacher_requests=1, teacher_input_tokens=input_tokens, teacher_output_tokens=output_tokens)


def test_a_budget_may_be_used_up_to_its_last_token():
    asyncio.run(BudgetReservations(tokens(150), spent(0), output_limit=50).reserve(100))


def test_a_request_that_would_go_beyond_it_is_not_sent_even_alone():
    with pytest.raises(BudgetReached, match=r"maxTeacherTokens is 149"):
        asyncio.run(BudgetReservations(tokens(149), spent(0), output_limit=50).reserve(100))


def test_a_spent_budget_says_so_with_both_numbers():
    with pytest.raises(BudgetReached, match=r"700 teacher tokens have been used; spec.budget.maxTeacherTokens is 700"):
        asyncio.run(BudgetReservations(tokens(700), spent(700)).reserve(1))


def test_without_a_limit_an_answer_is_reserved_by_the_longest_so_far():
    async def play() -> list[int]:
        purse = BudgetReservations(Budget(), spent(0))
        first = await purse.reserve(10)
        purse.settle(first, used(10, 33))
        return [first.teacher_output_tokens, (await purse.reserve(10)).teacher_output_tokens]

    assert asyncio.run(play()) == [FIRST_OUTPUT, 66]


def test_a_request_waits_while_those_in_flight_may_still_use_what_is_left():
    async def play() -> None:
        purse = BudgetReservations(tokens(200), spent(0), output_limit=80)
        first, _ = await purse.reserve(20), await purse.reserve(20)
        purse.settle(first, used(20, 10))
        await purse.reserve(20)  # 30 spent, 100 in flight, 70 left

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(play(), 0.05))


def test_it_goes_once_there_is_room():
    async def play() -> bool:
        purse = BudgetReservations(tokens(200), spent(0), output_limit=80)
        first, second = await purse.reserve(20), await purse.reserve(20)
        third = asyncio.create_task(purse.reserve(20))
        await asyncio.sleep(0.01)
        waited = not third.done()
        purse.settle(first, used(20, 10))
        purse.settle(second, used(20, 10))
        await third
        return waited

    assert asyncio.run(play())


def test_when_all_in_flight_are_paid_and_nothing_is_left_it_is_refused():
    async def play() -> None:
        purse = BudgetReservations(tokens(200), spent(0), output_limit=80)
        first = await purse.reserve(20)
        second = asyncio.create_task(purse.reserve(110))
        await asyncio.sleep(0.01)
        purse.settle(first, used(20, 80))
        await second

    with pytest.raises(BudgetReached):
        asyncio.run(play())


def test_money_counts_tokens_by_their_prices_and_the_gpu_time_of_the_run():
    budget = Budget.model_validate(
        {"maxCost": "2", "prices": {"inputPerMillion": "1", "outputPerMillion": "10", "gpuHour": "1"}}
    )
    asyncio.run(BudgetReservations(budget, Spent(used(0, 0), gpu_seconds=3600), output_limit=99_999).reserve(1))
    with pytest.raises(BudgetReached, match="maxCost is 2"):
        asyncio.run(BudgetReservations(budget, Spent(used(0, 0), gpu_seconds=3700), output_limit=99_999).reserve(1))
