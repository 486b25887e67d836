"""When each request may go: under the user's ceilings, as the endpoint announces, and as it turns out to bear.

The decisions are in `pacing` and `announced`; here is the waiting.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from llm2llm.teacher.pacing import AdaptivePace, InFlightRequest
from llm2llm.teacher.ratelimit_headers import KINDS, HeaderQuota, RateLimitHeader
from llm2llm.tokenbucket import TokenBucket

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a failed request is sent again: doubled with each failure, up to this."""
PATIENCE_SECONDS = 600.0
"""The longest wait that an endpoint may ask for; then the attempt ends, and its pod is free."""
BURST_SECONDS = 3.0
"""A ceiling by the minute allows what these seconds allow at once, and is spread evenly from then on."""
TIMER_SECONDS = 0.001
"""An event loop is no more precise than that: a shorter wait is none."""


class Stopping(Exception):
    """No request may begin any more."""


class UsedUp(Exception):
    """A limit that the endpoint announces leaves nothing for longer than anybody waits; the message is its words."""


def bucket_per_minute(limit: float | None) -> TokenBucket:
    """The bucket of a ceiling by the minute: bursts of BURST_SECONDS, and no limit where there is no ceiling."""
    if limit is None:
        return TokenBucket(None)
    return TokenBucket(limit / 60, burst=max(1.0, limit / 60 * BURST_SECONDS))


@dataclass
class Limiter:
    """Slots for requests. `ceiling`, `requests` and `tokens` are `spec.generate.limits`: hard, whatever is learned."""

    ceiling: int
    requests: TokenBucket = field(default_factory=lambda: TokenBucket(None))
    tokens: TokenBucket = field(default_factory=lambda: TokenBucket(None))
    rng: random.Random = field(default_factory=random.Random)
    in_flight: int = 0
    """Requests that hold a turn: sent, or answered and not yet on record."""
    waits_until: float = 0.0
    """End of the longest wait that was begun, by the event loop's clock: until then silence is no hang."""
    pace: AdaptivePace = field(init=False)
    _quotas: dict[str, HeaderQuota] = field(default_factory=lambda: {kind: HeaderQuota() for kind in KINDS})
    _line: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.pace = AdaptivePace(self.ceiling)

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[InFlightRequest]:
        """Waits until a request with so many tokens may be sent, and holds its place. Raises Stopping, UsedUp."""
        async with self._line:
            sent = await self._wait(tokens)
        self.in_flight += 1
        try:
            yield sent
        finally:
            self.in_flight -= 1
            if not sent.ended:
                self.pace.failed(sent)
            self._changed.set()

    async def _wait(self, tokens: int) -> InFlightRequest:
        loop = asyncio.get_running_loop()
        amounts = {"requests": 1, "tokens": tokens}
        began = loop.time()
        earliest = began + max(self.requests.take(1, began), self.tokens.take(tokens, began))
        while True:
            if self.stopped:
                raise Stopping
            now = loop.time()
            pause = self.pace.wait(now) if self.in_flight < self.ceiling else None
            if pause is not None:
                pause = max(pause, earliest - now, *(self._announced(kind, amounts[kind], now) for kind in KINDS))
                if pause < TIMER_SECONDS:
                    break
                self.waits_until = max(self.waits_until, now + pause)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), pause)
            except TimeoutError:
                continue
        for kind in KINDS:
            self._quotas[kind].take(amounts[kind], now)
        return self.pace.send(now)

    def _announced(self, kind: str, amount: float, now: float) -> float:
        """Seconds until the endpoint lets in so much of it, as it announces."""
        quota = self._quotas[kind]
        pause = quota.wait(amount, now)
        if pause > PATIENCE_SECONDS and (told := quota.newest):
            raise UsedUp(f"{told.remaining:.0f} of {told.limit:.0f} {kind} left, more in {pause:.0f} s")
        return pause

    def succeeded(self, sent: InFlightRequest, told: Mapping[str, RateLimitHeader]) -> None:
        """An answer came, with what its headers say."""
        self.pace.answered(sent, asyncio.get_running_loop().time())
        self._hear(sent, told)

    def limited(self, sent: InFlightRequest, told: Mapping[str, RateLimitHeader], retry_after: float | None) -> None:
        """A 429 came, with what its headers say."""
        # Jitter upwards only: never earlier than the endpoint asked for.
        pause = None if retry_after is None else retry_after * (1 + self.rng.random() / 10)
        self.pace.refused(sent, asyncio.get_running_loop().time(), pause)
        self._hear(sent, told)

    def _hear(self, sent: InFlightRequest, told: Mapping[str, RateLimitHeader]) -> None:
        for kind, announcement in told.items():
            self._quotas[kind].told(announcement, sent.at)
        self._changed.set()

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, with jitter."""
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, failures - 1))
        return longest * (0.5 + self.rng.random() / 2)

    async def sleep(self, seconds: float) -> None:
        """Sleeps, or raises Stopping as soon as that is asked for."""
        self.waits_until = max(self.waits_until, asyncio.get_running_loop().time() + seconds)
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return
        raise Stopping

    def stop(self) -> None:
        """Lets no further request begin; those in flight go on."""
        self._stopped.set()
        self._changed.set()
