"""Endpoints with a limit that they do not tell, and a client that always has something to ask, in virtual time."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Protocol

from llm2llm.teacher.pacing import AdaptivePace, InFlightRequest

NETWORK = 0.02
"""Seconds that a request or an answer is on its way."""
TIMER = 0.001
"""Seconds by which an event loop may be early."""


class Limit(Protocol):
    def admits(self, now: float, /) -> float | None:
        """None where a request is let in; else the seconds of Retry-After."""

    def left(self) -> None:
        """A request that was let in is over."""

    def halve(self) -> None: ...


@dataclass
class TokenBucket:
    """`rate` requests a second, up to `burst` at once."""

    rate: float
    burst: float
    _there: float = math.inf
    _at: float = 0.0

    def admits(self, now: float) -> float | None:
        self._there = min(self.burst, self._there + (now - self._at) * self.rate)
        self._at = now
        if self._there < 1:
            return (1 - self._there) / self.rate
        self._there -= 1
        return None

    def left(self) -> None:
        pass

    def halve(self) -> None:
        self.rate /= 2


@dataclass
class FixedWindow:
    """`most` requests in each minute of the clock."""

    most: int
    _window: int = -1
    _used: int = 0

    def admits(self, now: float) -> float | None:
        if int(now // 60) != self._window:
            self._window, self._used = int(now // 60), 0
        if self._used >= self.most:
            return 60 - now % 60
        self._used += 1
        return None

    def left(self) -> None:
        pass

    def halve(self) -> None:
        self.most //= 2


@dataclass
class AtOnce:
    """`most` requests in flight."""

    most: int
    _in: int = 0

    def admits(self, _: float) -> float | None:
        if self._in >= self.most:
            return 1.0
        self._in += 1
        return None

    def left(self) -> None:
        self._in -= 1

    def halve(self) -> None:
        self.most //= 2


@dataclass
class Play:
    """A client that always has something to ask, against a limit. Made by `play`."""

    pace: AdaptivePace
    limit: Limit
    latency: Callable[[random.Random], float]
    retry_after: Callable[[float], float | None]
    rng: random.Random
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)
    _waking: float = 0.0

    def between(self, begin: float, end: float) -> tuple[int, int]:
        """Requests that were let in, and refused, in this time."""
        accepted, refused = (sum(begin <= at < end for at in times) for times in (self.accepted, self.refused))
        return accepted, refused

    def at(self, time: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), happens))

    def until(self, end: float) -> None:
        while self._events and self._events[0][0] < end:
            now, _, happens = heapq.heappop(self._events)
            happens(now)

    def ask(self, now: float) -> None:
        """Sends what may be sent, and looks again when more may."""
        while (wait := self.pace.wait(now)) is not None and wait < TIMER:
            self.at(now + NETWORK, partial(self._arrive, self.pace.send(now)))
        if wait is not None and self._waking != now + wait:
            self._waking = now + wait
            self.at(self._waking, self._wake)

    def _wake(self, now: float) -> None:
        if now == self._waking:  # else another event has changed when to look next
            self.ask(now)

    def _arrive(self, sent: InFlightRequest, now: float) -> None:
        pause = self.limit.admits(now)
        if pause is None:
            self.accepted.append(now)
            self.at(now + self.latency(self.rng), partial(self._leave, sent))
        else:
            self.refused.append(now)
            self.at(now + NETWORK, partial(self._refuse, sent, self.retry_after(pause)))

    def _leave(self, sent: InFlightRequest, now: float) -> None:
        self.limit.left()
        self.at(now + NETWORK, partial(self._answer, sent))

    def _answer(self, sent: InFlightRequest, now: float) -> None:
        self.pace.record_answer(sent, now)
        self.ask(now)

    def _refuse(self, sent: InFlightRequest, told: float | None, now: float) -> None:
        self.pace.record_429(sent, now, told)
        self.ask(now)


def play(
    pace: AdaptivePace,
    limit: Limit,
    *,
    seconds: float,
    halved_at: float,
    latency: Callable[[random.Random], float],
    retry_after: Callable[[float], float | None] = lambda _: None,
    seed: int = 0,
) -> Play:
    """Asks as fast as the pace allows; what is refused is asked again by whoever comes next."""
    played = Play(pace, limit, latency, retry_after, random.Random(seed))
    played.at(halved_at, lambda _: limit.halve())
    played.ask(0.0)
    played.until(seconds)
    return played
