"""The pace: one request first, more while answers come, half after a 429."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from llm2llm.teacher.limits import Limiter, Stopping


def run(scenario: Callable[[Limiter], Coroutine[None, None, None]], ceiling: int = 8) -> None:
    async def play() -> None:
        await scenario(Limiter(ceiling))

    asyncio.run(play())


def test_the_first_request_goes_alone():
    async def scenario(limiter: Limiter) -> None:
        async with limiter.slot():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(limiter._enter(), 0.02)

    run(scenario)


def test_answers_open_it_up_to_the_ceiling():
    async def scenario(limiter: Limiter) -> None:
        for _ in range(20):
            limiter.succeeded()
        assert limiter.allowed == 8

    run(scenario)


def test_many_429_at_once_are_one_signal_and_halve_once():
    async def scenario(limiter: Limiter) -> None:
        limiter.allowed = 8.0
        began = asyncio.get_running_loop().time()
        for _ in range(8):
            limiter.limited(began, 0.05)
        assert limiter.allowed == 4
        async with limiter.slot() as second:
            assert second - began >= 0.05  # nobody asks before Retry-After is over
            limiter.limited(second, 0.01)
        assert limiter.allowed == 2

    run(scenario)


def test_after_a_429_it_climbs_by_one_for_a_full_round():
    async def scenario(limiter: Limiter) -> None:
        limiter.allowed = 8.0
        limiter.limited(asyncio.get_running_loop().time(), 0.0)
        for _ in range(4):
            limiter.succeeded()
        assert 4.8 < limiter.allowed <= 5.0

    run(scenario)


def test_a_stop_wakes_everybody_who_waits():
    async def scenario(limiter: Limiter) -> None:
        async with limiter.slot():
            waiting = [asyncio.create_task(limiter._enter()), asyncio.create_task(limiter.sleep(60))]
            await asyncio.sleep(0)
            limiter.stop()
            ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
            assert [type(error) for error in ended] == [Stopping, Stopping]

    run(scenario)
