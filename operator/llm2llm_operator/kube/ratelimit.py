"""Limits how fast this process writes to the API server: a token bucket whose rate follows the server's 429s."""

from __future__ import annotations

import asyncio

from llm2llm.tokenbucket import TokenBucket

RECOVERY_SECONDS = 20.0
"""The write rate is back at its maximum within this time after a 429."""
TOGETHER_SECONDS = 1.0
"""429s this close together count as one: their requests were in flight before the first one was refused."""
SLOWEST = 1 / 32
"""Fraction of the full rate that the rate never falls below."""


class WriteRate:
    """Allows `rate` writes a second, after a burst of at most `burst`; fewer after a 429.

    A refused request itself waits as long as Retry-After says; all others only become less frequent. Making all of them
    wait was tried: while a thousand runs are applied the API server refuses some requests (its own priority and
    fairness), and the first Jobs came ten times as late.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._full_rate = rate
        self._rate = rate
        self._bucket = TokenBucket(rate, float(burst))
        self._halved_at = -TOGETHER_SECONDS

    async def take(self) -> None:
        """Waits until one write is allowed."""
        pause = self._bucket.take(1, self._recover())
        if pause:
            await asyncio.sleep(pause)

    def slow_down(self) -> None:
        """Halves the rate and empties the bucket after a 429; without another one the rate recovers within 20 s."""
        now = self._recover()
        if now - self._halved_at < TOGETHER_SECONDS:
            return
        self._halved_at = now
        self._bucket.rate = self._rate = max(self._full_rate * SLOWEST, self._rate / 2)
        self._bucket.tokens = min(self._bucket.tokens, 0.0)

    def _recover(self) -> float:
        """Raises the rate again in proportion to the time that passed; returns the current time."""
        now = asyncio.get_running_loop().time()
        passed = self._bucket.refill(now)
        self._bucket.rate = self._rate = min(self._full_rate, self._rate + passed * self._full_rate / RECOVERY_SECONDS)
        return now
