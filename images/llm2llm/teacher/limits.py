"""Makes each request wait for its turn: within the user's ceilings, the limits in the endpoint's headers, and the pace
that the endpoint proves to accept.

`pacing` and `ratelimit_headers` make the decisions; this module does the waiting.
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
"""Seconds before a failed request is sent again: FIRST_PAUSE, doubled with each failure, up to LONGEST_PAUSE."""
PATIENCE_SECONDS = 600.0
"""Seconds: the longest wait that an endpoint may ask for; beyond it the attempt ends, and its pod is free."""
BURST_SECONDS = 3.0
"""Seconds' worth of a per-minute ceiling that may be used as a burst; the rest is spread evenly."""
TIMER_SECONDS = 0.001
"""An event loop is no more precise than this: a shorter wait counts as none."""


class Stopping(Exception):
    """The limiter was stopped: no further request may begin."""


class UsedUp(Exception):
    """A limit in the endpoint's headers is used up for longer than PATIENCE_SECONDS; the message describes it."""


def bucket_per_minute(limit: float | None) -> TokenBucket:
    """Returns the bucket for a per-minute ceiling: bursts of BURST_SECONDS, and unlimited if there is no ceiling."""
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
    """Requests that hold a slot: sent, or answered and not yet recorded."""
    waits_until: float = 0.0
    """End of the longest wait so far, by the event loop's clock: until then silence is not a hang."""
    pace: AdaptivePace = field(init=False)
    _quotas: dict[str, HeaderQuota] = field(default_factory=lambda: {kind: HeaderQuota() for kind in KINDS})
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.pace = AdaptivePace(self.ceiling)

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[InFlightRequest]:
        """Waits until a request with so many tokens may be sent, and holds its slot. Raises Stopping, UsedUp."""
        async with self._lock:
            sent = await self._wait(tokens)
        self.in_flight += 1
        try:
            yield sent
        finally:
            self.in_flight -= 1
            if not sent.ended:
                self.pace.record_end(sent)
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
                pause = max(pause, earliest - now, *(self._quota_wait(kind, amounts[kind], now) for kind in KINDS))
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

    def _quota_wait(self, kind: str, amount: float, now: float) -> float:
        """Returns the seconds until the announced limit of this kind allows `amount`."""
        quota = self._quotas[kind]
        pause = quota.wait(amount, now)
        if pause > PATIENCE_SECONDS and (header := quota.newest):
            raise UsedUp(f"{header.remaining:.0f} of {header.limit:.0f} {kind} left, more in {pause:.0f} s")
        return pause

    def record_answer(self, sent: InFlightRequest, headers: Mapping[str, RateLimitHeader]) -> None:
        """Records an answer and the limits in its headers."""
        self.pace.record_answer(sent, asyncio.get_running_loop().time())
        self._record_headers(sent, headers)

    def record_429(
        self, sent: InFlightRequest, headers: Mapping[str, RateLimitHeader], retry_after: float | None
    ) -> None:
        """Records a 429 and the limits in its headers."""
        # The jitter only lengthens the pause: never earlier than the endpoint asked for.
        pause = None if retry_after is None else retry_after * (1 + self.rng.random() / 10)
        self.pace.record_429(sent, asyncio.get_running_loop().time(), pause)
        self._record_headers(sent, headers)

    def _record_headers(self, sent: InFlightRequest, headers: Mapping[str, RateLimitHeader]) -> None:
        for kind, header in headers.items():
            self._quotas[kind].update(header, sent.at)
        self._changed.set()

    def backoff(self, failures: int) -> float:
        """Returns the seconds to wait after so many failures in a row, with jitter."""
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, failures - 1))
        return longest * (0.5 + self.rng.random() / 2)

    async def sleep(self, seconds: float) -> None:
        """Sleeps; raises Stopping as soon as `stop` is called."""
        self.waits_until = max(self.waits_until, asyncio.get_running_loop().time() + seconds)
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return
        raise Stopping

    def stop(self) -> None:
        """Lets no further request begin; those in flight continue."""
        self._stopped.set()
        self._changed.set()
