"""The work queue: each run is in the queue at most once, and has at most one pass at a time.

A worker calls `get` for the next key, reconciles the run, and calls `done` or `retry_later`. As in client-go's
workqueue, duplicates are merged, a key that is added during its own pass comes back after it, failures back off per key
with jitter, and a heap holds the wake-up times. Keys that a resync adds wait behind keys that an event adds, so ten
thousand finished runs do not delay anyone's next Job; and namespaces are served in turn, none of them by more than a
share of the workers (for what events add), so ten thousand runs of one tenant do not delay another's.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import Counter
from collections.abc import Callable

from llm2llm_operator.kube.fairness import FairQueue
from llm2llm_operator.model.run import Key

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 300.0
LOW_PRIORITY_EVERY = 8
MAX_LOW_PRIORITY_WORKERS = 4
"""Concurrent low-priority passes: most have nothing to do and never wait, so each one blocks the loop."""
WORKER_SHARE = 1 / 6
"""Part of the workers that one namespace may keep busy. More do not get more done where the API server is the limit:
its answers only take longer, for everyone, also for the first run of a namespace that the operator has not heard of yet
(docs/measurements.md)."""


class WorkQueue:
    """Holds the keys of runs to reconcile; not thread-safe, for one event loop."""

    def __init__(self, waited: Callable[[float], object] = lambda _: None, workers: int | None = None) -> None:
        """Makes an empty queue for so many workers (None: no namespace is held to a share), which calls `waited` with
        the seconds that each key waited for its pass.
        """
        self._waited = waited
        self._share = None if workers is None else max(1, int(workers * WORKER_SHARE))
        self._urgent_in: Counter[str] = Counter()
        """Active urgent passes by namespace; the others are not held to its share, and take nothing of it."""
        self._ready: FairQueue[Key] = FairQueue()
        self._later: FairQueue[Key] = FairQueue()
        self._since: dict[Key, float] = {}
        """When each waiting key was added."""
        self._postponed: set[Key] = set()
        """The waiting keys that are in `_later`."""
        self._taken = 0
        self._active: set[Key] = set()
        self._low_priority: set[Key] = set()  # of the active ones
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: list[tuple[float, Key]] = []
        self._wake_at: dict[Key, float] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Returns the number of keys that wait for a pass."""
        return len(self._ready) + len(self._later)

    def oldest_seconds(self) -> float:
        """Returns how many seconds the key that was added first has waited."""
        first = [self._since[key] for lane in (self._ready, self._later) for key in lane.heads()]
        return time.monotonic() - min(first) if first else 0.0

    def add(self, key: Key, *, urgent: bool = True) -> None:
        """Asks for a pass now, or, if not urgent, when no urgent key is waiting."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._since or (urgent and key in self._postponed):
            self._later.discard(key[0], key)
            (self._postponed.discard if urgent else self._postponed.add)(key)
            (self._ready if urgent else self._later).add(key[0], key)
            self._since.setdefault(key, time.monotonic())
            self._changed.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Asks for a pass after some seconds; an earlier wake-up of the same key stays."""
        due = asyncio.get_running_loop().time() + seconds
        if due < self._wake_at.get(key, float("inf")):
            self._wake_at[key] = due
            heapq.heappush(self._timers, (due, key))
            self._changed.set()

    async def get(self) -> Key:
        """Returns the next key, and waits for one if needed; the caller must call `done` or `retry_later` with it."""
        while True:
            self._add_due_keys()
            key = self._pop()
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
        """Ends a pass that succeeded."""
        self._failures.pop(key, None)
        self._release(key)

    def retry_later(self, key: Key) -> float:
        """Ends a pass that failed, and adds the key again after a pause that doubles. Returns the pause in seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        pause = min(FIRST_BACKOFF * 2.0**count, LONGEST_BACKOFF) * random.uniform(0.75, 1.0)  # noqa: S311 - jitter
        self._again.discard(key)
        self._release(key)
        self.add_after(key, pause)
        return pause

    def forget(self, key: Key) -> None:
        """Drops the failure count and the wake-up time of a run that no longer exists."""
        self._failures.pop(key, None)
        self._wake_at.pop(key, None)

    def _pop(self) -> Key | None:
        """Returns an urgent key, or every LOW_PRIORITY_EVERY-th time another one, so that a busy queue does not starve
        those. Returns None if no key may have a pass now.
        """
        self._taken += 1
        low_priority_allowed = self._later and len(self._low_priority) < MAX_LOW_PRIORITY_WORKERS
        key = None
        if not (low_priority_allowed and self._taken % LOW_PRIORITY_EVERY == 0):
            key = self._ready.pop_if(self._may_have_another)
        if key is not None:
            self._urgent_in[key[0]] += 1
        elif low_priority_allowed:
            key = self._later.pop()
            self._postponed.discard(key)
            self._low_priority.add(key)
        if key is not None:
            self._waited(time.monotonic() - self._since.pop(key))
        return key

    def _may_have_another(self, namespace: str) -> bool:
        """Tells whether the namespace's urgent passes are less than its share of the workers."""
        return self._share is None or self._urgent_in[namespace] < self._share

    def _release(self, key: Key) -> None:
        self._active.discard(key)
        if key in self._low_priority:
            self._low_priority.discard(key)
            self._changed.set()
        else:
            self._urgent_in[key[0]] -= 1
            if not self._urgent_in[key[0]]:
                del self._urgent_in[key[0]]
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _add_due_keys(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._timers and self._timers[0][0] <= now:
            due, key = heapq.heappop(self._timers)
            if self._wake_at.get(key) == due:
                del self._wake_at[key]
                self.add(key)
