"""How many requests are in flight: below the user's ceiling, and as many as the endpoint bears.

It starts with one request (a refused key costs one request, not a storm), opens by one for each answer until the first
429, halves on a 429 and then climbs by one for each full round of answers (additive increase, multiplicative decrease).
A 429 also pauses everybody, for as long as Retry-After says.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
BURST_SECONDS = 3.0


class Stopping(Exception):
    """No request may begin any more."""


@dataclass
class Pace:
    """At most `per_minute` of something, spread over the minute: a burst of what three seconds allow, then evenly.

    What is taken before it is there is owed, and waited for.
    """

    per_minute: float | None
    _there: float = 0.0
    _at: float | None = None

    def pause(self, amount: float, now: float) -> float:
        """Takes an amount; the seconds to wait before it may be used."""
        if self.per_minute is None:
            return 0.0
        rate = self.per_minute / 60
        burst = max(1.0, rate * BURST_SECONDS)
        self._there = burst if self._at is None else min(burst, self._there + (now - self._at) * rate)
        self._at = now
        self._there -= amount
        return max(0.0, -self._there / rate)

    def give_back(self, amount: float) -> None:
        """Less was used than was taken; or, where negative, more."""
        if self.per_minute is not None:
            self._there += amount


@dataclass
class Limiter:
    """Concurrency slots, and the ceilings a minute. `ceiling` is `limits.maxConcurrentRequests`."""

    ceiling: int
    requests: Pace = field(default_factory=lambda: Pace(None))
    tokens: Pace = field(default_factory=lambda: Pace(None))
    rng: random.Random = field(default_factory=random.Random)
    allowed: float = 1.0
    in_flight: int = 0
    _climbing: bool = True
    _paused_until: float = 0.0
    _pauses: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Waits for a slot and holds it; gives the time at which it began. Raises Stopping."""
        await self._enter()
        try:
            yield asyncio.get_running_loop().time()
        finally:
            self.in_flight -= 1
            self._changed.set()

    async def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self.stopped:
                raise Stopping
            pause = self._paused_until - loop.time()
            if pause > 0:
                await self.sleep(pause)
            elif self.in_flight < int(self.allowed):
                self.in_flight += 1
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    async def take(self, tokens: int) -> None:
        """Waits until a request with so many tokens may be sent under the ceilings per minute. Raises Stopping."""
        now = asyncio.get_running_loop().time()
        pause = max(self.requests.pause(1, now), self.tokens.pause(tokens, now))
        if pause > 0:
            await self.sleep(pause)

    def succeeded(self) -> None:
        """An answer came: one more slot, or a part of one after the first 429."""
        self._pauses = 0
        self._changed.set()
        self.allowed = min(float(self.ceiling), self.allowed + (1.0 if self._climbing else 1.0 / self.allowed))

    def limited(self, began: float, retry_after: float | None) -> None:
        """A 429 came to a request that began then; many at once are one signal."""
        now = asyncio.get_running_loop().time()
        if began >= self._paused_until:
            self.allowed = max(1.0, self.allowed / 2)
            self._climbing = False
            self._pauses += 1
        pause = retry_after if retry_after is not None else self.backoff(self._pauses)
        # Jitter upwards only: never earlier than the endpoint asked for.
        self._paused_until = max(self._paused_until, now + pause * (1 + self.rng.random() / 10))

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, with jitter."""
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, failures - 1))
        return longest * (0.5 + self.rng.random() / 2)

    async def sleep(self, seconds: float) -> None:
        """Sleeps, or raises Stopping as soon as that is asked for."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return
        raise Stopping

    def stop(self) -> None:
        """Lets no further request begin; those in flight go on."""
        self._stopped.set()
        self._changed.set()
