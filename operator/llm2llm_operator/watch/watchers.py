"""Notices that one of kopf's watches has ended, while kopf itself runs on without it.

kopf logs the end of a watch and leaves it at that: after a CRD was deleted and created again, the watch of its objects
stayed dead while those of Jobs and pods went on, so that nothing else looked wrong.
"""

from __future__ import annotations

import asyncio
import time

WATCHER = "watcher for "
"""Begins the names of kopf's tasks that watch (kopf 1.45, `_core/reactor/orchestration.py`)."""
STARTING_SECONDS = 30.0
"""Time from the first watch to the last one; that of a resource that the API server does not know never begins.

While the API server is away none does, and kopf waits for it.
"""


class Watchers:
    """Counts the watches in the event loop that it is asked in."""

    def __init__(self, expected: int) -> None:
        """Expects this many watches: one of each collection in each namespace."""
        self._expected = expected
        self._began: float | None = None
        self._complete = False

    def one_is_missing(self) -> bool:
        """Returns whether one has ended, or has not begun in time."""
        running = sum(task.get_name().startswith(WATCHER) and not task.done() for task in asyncio.all_tasks())
        if running and self._began is None:
            self._began = time.monotonic()
        if running >= self._expected:
            self._complete = True
        late = self._began is not None and time.monotonic() - self._began > STARTING_SECONDS
        return running < self._expected and (self._complete or late)
