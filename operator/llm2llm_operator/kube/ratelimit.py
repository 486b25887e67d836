"""How fast this process writes to the API server: a token bucket whose rate follows the server's 429s."""

from __future__ import annotations

import asyncio

from llm2llm.tokenbucket import TokenBucket

RECOVERY_SECONDS = 20.0
"""After a 429 the write rate is full again within this time."""
TOGETHER_SECONDS = 1.0
"""Refusals this close together are one: the requests were on their way before the first of them came back."""
SLOWEST = 1 / 32
"""Share of the full rate that no number of refusals goes below."""


class WriteRate:
    """At most `rate` writes a second, after a burst of at most `burst`; fewer where the API server asks for it.

    A 429 makes the request that it refused wait as long as Retry-After says; the others only become fewer. Letting all
    of them wait was tried: while a thousand runs are applied the API server refuses now and then (its own priority and
    fairness), and the first Jobs came ten times as late.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._full_rate = rate
        self._rate = rate
        self._bucket = TokenBucket(rate, float(burst))
        self._halved_at = -TOGETHER_SECONDS

    async def take(self) -> None:
        """Waits until one write may go."""
        pause = self._bucket.take(1, self._recover())
        if pause:
            await asyncio.sleep(pause)

    def slow_down(self) -> None:
        """Halves the rate and empties the bucket after a 429; without another one it is full again within 20 s."""
        now = self._recover()
        if now - self._halved_at < TOGETHER_SECONDS:
            return
        self._halved_at = now
        self._bucket.rate = self._rate = max(self._full_rate * SLOWEST, self._rate / 2)
        self._bucket.tokens = min(self._bucket.tokens, 0.0)

    def _recover(self) -> float:
        """Lets the rate grow back with the time that passed; returns the time."""
        now = asyncio.get_running_loop().time()
        passed = self._bucket.refill(now)
        self._bucket.rate = self._rate = min(self._full_rate, self._rate + passed * self._full_rate / RECOVERY_SECONDS)
        return now
