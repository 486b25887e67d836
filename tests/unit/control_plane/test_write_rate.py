"""How fast writes may follow each other, in a loop whose clock stands unless somebody sleeps."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

from llm2llm_operator.kube.ratelimit import RECOVERY_SECONDS, WriteRate


class Clock(selectors.SelectSelector):
    """Sleeping takes no time: the loop's clock jumps."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


def times(scenario: Coroutine[Any, Any, list[float]], clock: Clock) -> list[float]:
    """Seconds since the start at which the writes of a scenario went."""
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]
    try:
        return [round(moment - 1000.0, 2) for moment in loop.run_until_complete(scenario)]
    finally:
        loop.close()


async def writes(bucket: WriteRate, clock: Clock, count: int) -> list[float]:
    async def one() -> float:
        await bucket.take()
        return clock.now

    return list(await asyncio.gather(*(one() for _ in range(count))))


def test_after_a_burst_writes_follow_each_other_at_the_rate():
    clock = Clock()
    assert times(writes(WriteRate(10, 3), clock, 6), clock) == [0, 0, 0, 0.1, 0.2, 0.3]


def test_fault_05_429s_to_requests_that_went_together_halve_the_rate_once_and_end_the_burst():
    clock = Clock()
    bucket = WriteRate(100, 100)

    async def scenario() -> list[float]:
        await bucket.take()
        for _ in range(5):
            bucket.slow_down()
        return await writes(bucket, clock, 50)

    went = times(scenario(), clock)
    assert went[0] == 0.02  # 50 a second
    assert 0.9 <= went[-1] <= 1.0


def test_fault_05_429s_that_go_on_lower_the_rate_to_a_thirty_second_and_no_further():
    clock = Clock()
    bucket = WriteRate(320, 10)

    async def scenario() -> list[float]:
        for _ in range(50):
            bucket.slow_down()
            await asyncio.sleep(1.0)
        bucket.slow_down()
        return await writes(bucket, clock, 1)

    [moment] = times(scenario(), clock)
    assert 50 < moment <= 50.1


def test_fault_05_twenty_seconds_later_the_rate_is_what_it_was():
    clock = Clock()
    bucket = WriteRate(10, 1)

    async def scenario() -> list[float]:
        bucket.slow_down()
        await asyncio.sleep(RECOVERY_SECONDS)
        await bucket.take()
        return await writes(bucket, clock, 3)

    assert times(scenario(), clock) == [20.1, 20.2, 20.3]
