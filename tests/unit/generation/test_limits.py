"""The pace: one request first, more while answers come, half after a 429."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from llm2llm.teacher.limits import Limiter, Pace, Stopping


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


def sent_within(pace: Pace, seconds: float, amount: float = 1.0) -> int:
    """Requests that one sender gets through in this time, asking again as soon as it may."""
    now = 0.0
    sent = 0
    while True:
        now += pace.pause(amount, now)
        if now >= seconds:
            return sent
        sent += 1


@pytest.mark.parametrize(
    ("per_minute", "seconds", "fewest", "most"),
    [
        pytest.param(60, 60, 60, 63, id="one a second, after a burst of three"),
        pytest.param(6000, 10, 1000, 1301, id="a hundred a second"),
        pytest.param(6, 60, 6, 7, id="fewer than one a second"),
    ],
)
def test_a_ceiling_a_minute_is_used_and_not_exceeded(per_minute: float, seconds: float, fewest: int, most: int):
    assert fewest <= sent_within(Pace(per_minute), seconds) <= most


def test_tokens_that_were_reserved_and_not_used_are_there_for_others():
    pace = Pace(6000)  # 300 at once, 100 a second
    assert pace.pause(300, 0.0) == 0.0
    pace.give_back(200)
    assert pace.pause(200, 0.0) == 0.0
    assert pace.pause(100, 0.0) == pytest.approx(1.0)


def test_an_answer_that_was_longer_than_reserved_is_owed():
    pace = Pace(6000)
    pace.pause(300, 0.0)
    pace.give_back(-100)
    assert pace.pause(100, 0.0) == pytest.approx(2.0)


def test_without_a_ceiling_nothing_waits():
    pace = Pace(None)
    assert all(pace.pause(10**9, 0.0) == 0.0 for _ in range(100))


def test_a_stop_ends_the_wait_for_a_turn():
    async def scenario(limiter: Limiter) -> None:
        limiter.requests = Pace(1)
        await limiter.take(0)
        waiting = asyncio.create_task(limiter.take(0))
        await asyncio.sleep(0.01)
        limiter.stop()
        with pytest.raises(Stopping):
            await waiting

    run(scenario)
