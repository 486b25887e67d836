"""Limits how fast this process sends requests to the API server: a token bucket that serves namespaces in turn."""

from __future__ import annotations

import asyncio

from llm2llm.tokenbucket import TokenBucket
from llm2llm_operator.kube.fairness import FairQueue

RECOVERY_SECONDS = 20.0
"""The rate is back at its maximum within this time after a 429."""
TOGETHER_SECONDS = 1.0
"""429s this close together count as one: their requests were in flight before the first one was refused."""
SLOWEST = 1 / 32
"""Fraction of the full rate that the rate never falls below."""


ROUNDING = 1e-6
"""Part of a token that may be missing: a timer's time is a rounded sum."""


class RequestRate:
    """Allows `rate` requests a second, after a burst of at most `burst`; fewer after a 429.

    A refused request itself waits as long as Retry-After says; all others only become less frequent. Making all of them
    wait was tried: while a thousand runs are applied the API server refuses some requests (its own priority and
    fairness), and the first Jobs came ten times as late.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._full_rate = rate
        self._bucket = TokenBucket(rate, float(burst))
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._halved_at = -TOGETHER_SECONDS

    async def take(self, namespace: str) -> None:
        """Waits until one request about this namespace is allowed."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(namespace, turn)
        self._serve()
        try:
            await turn
        finally:
            self._waiting.discard(namespace, turn)

    def slow_down(self) -> None:
        """Halves the rate and empties the bucket after a 429; without another one the rate recovers within 20 s."""
        now = self._recover()
        if now - self._halved_at < TOGETHER_SECONDS:
            return
        self._halved_at = now
        self._bucket.rate = max(self._full_rate * SLOWEST, self._rate / 2)
        self._bucket.tokens = min(self._bucket.tokens, 0.0)

    @property
    def _rate(self) -> float:
        return self._bucket.rate or self._full_rate

    def _serve(self) -> None:
        """Lets those go whose turn it is, and comes back when the next token is there."""
        self._recover()
        while self._waiting and self._bucket.tokens > 1 - ROUNDING:
            turn = self._waiting.pop()
            if not turn.done():  # else whoever waited was cancelled
                self._bucket.tokens -= 1
                turn.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            pause = (1 - self._bucket.tokens) / self._rate
            self._timer = asyncio.get_running_loop().call_later(pause, self._serve)

    def _recover(self) -> float:
        """Raises the rate again in proportion to the time that passed; returns the current time."""
        now = asyncio.get_running_loop().time()
        passed = self._bucket.refill(now)
        self._bucket.rate = min(self._full_rate, self._rate + passed * self._full_rate / RECOVERY_SECONDS)
        return now
