"""The work queue: each run at most once in the queue, at most one pass a run at a time.

What client-go's workqueue does, in asyncio: duplicates fold, a key that is added during its own pass comes back after
it, failures back off per key with jitter, and a heap holds the wake-up times. What a resync asks for waits behind what
an event asks for: ten thousand runs at rest delay nobody's next Job.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque

from llm2llm_operator.resource import Key

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 300.0
FAIR_TURN = 8


class WorkQueue:
    """Keys to look at; not thread-safe, for one event loop."""

    def __init__(self) -> None:
        self._ready: deque[Key] = deque()
        self._queued: set[Key] = set()
        self._later: deque[Key] = deque()
        self._queued_later: set[Key] = set()
        self._taken = 0
        self._active: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: list[tuple[float, Key]] = []
        self._wake_at: dict[Key, float] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait for a pass."""
        return len(self._queued) + len(self._queued_later)

    def add(self, key: Key, *, urgent: bool = True) -> None:
        """Asks for a pass now, or when nothing urgent waits."""
        if key in self._active:
            self._again.add(key)
        elif urgent and key not in self._queued:
            self._queued.add(key)
            self._queued_later.discard(key)
            self._ready.append(key)
            self._changed.set()
        elif not urgent and key not in self._queued and key not in self._queued_later:
            self._queued_later.add(key)
            self._later.append(key)
            self._changed.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Asks for a pass in some time; an earlier wish for the same key stands."""
        due = asyncio.get_running_loop().time() + seconds
        if due < self._wake_at.get(key, float("inf")):
            self._wake_at[key] = due
            heapq.heappush(self._timers, (due, key))
            self._changed.set()

    async def get(self) -> Key:
        """The next key; `done` or `failed` must follow."""
        while True:
            self._fire()
            key = self._next()
            if key is not None:
                self._active.add(key)
                return key
            self._changed.clear()
            loop = asyncio.get_running_loop()
            pause = max(0.0, self._timers[0][0] - loop.time()) if self._timers else None
            try:
                await asyncio.wait_for(self._changed.wait(), pause)
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """The pass is over and went well."""
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: Key) -> float:
        """The pass failed: the key comes back later each time. Returns the pause in seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        pause = min(FIRST_BACKOFF * 2.0**count, LONGEST_BACKOFF) * random.uniform(0.75, 1.0)  # noqa: S311 - jitter
        self._again.discard(key)
        self._release(key)
        self.add_after(key, pause)
        return pause

    def forget(self, key: Key) -> None:
        """The run is gone: no failure and no wake-up time of it is kept."""
        self._failures.pop(key, None)
        self._wake_at.pop(key, None)

    def _next(self) -> Key | None:
        """An urgent key, or every FAIR_TURN-th time another one: a busy queue must not put those off for ever."""
        self._taken += 1
        while self._later and self._later[0] not in self._queued_later:  # became urgent meanwhile
            self._later.popleft()
        if self._later and (not self._ready or self._taken % FAIR_TURN == 0):
            key = self._later.popleft()
            self._queued_later.discard(key)
            return key
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._queued.discard(key)
        return key

    def _release(self, key: Key) -> None:
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._timers and self._timers[0][0] <= now:
            due, key = heapq.heappop(self._timers)
            if self._wake_at.get(key) == due:
                del self._wake_at[key]
                self.add(key)
