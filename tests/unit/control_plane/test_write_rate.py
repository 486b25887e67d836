"""The token bucket for writes: what it lets pass, and what a 429 does to it (fault 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llm2llm_operator.cluster import SECONDS_TO_FULL_RATE, TokenBucket


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only in its sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def seconds_for(
    writes: int, bucket: TokenBucket, before: Callable[[], object] = lambda: None, pause: float = 0.0
) -> float:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        await bucket.take()
        before()
        await asyncio.sleep(pause)
        begin = loop.time()
        for _ in range(writes):
            await bucket.take()
        return loop.time() - begin

    with asyncio.Runner(loop_factory=Clock) as runner:
        return round(runner.run(scenario()), 2)


def test_a_burst_passes_at_once_and_the_rest_at_the_rate():
    assert seconds_for(9, TokenBucket(100, 10)) == 0
    assert seconds_for(109, TokenBucket(100, 10)) == 1


def test_a_429_ends_the_burst_and_halves_the_rate():
    bucket = TokenBucket(100, 10)
    assert 0.15 < seconds_for(9, bucket, bucket.slow_down) < 0.2


def test_the_rate_never_falls_below_a_thirty_second_of_itself():
    bucket = TokenBucket(320, 10)
    assert seconds_for(1, bucket, lambda: [bucket.slow_down() for _ in range(50)]) == 0.1


def test_without_another_429_the_rate_is_full_again():
    bucket = TokenBucket(100, 10)
    assert seconds_for(110, bucket, bucket.slow_down, SECONDS_TO_FULL_RATE) == 1
