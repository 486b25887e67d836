"""Ends a step that hangs (fault 51): a hung GPU or a deadlock never exits, and holds resources that others wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

Progress = Callable[[Mapping[str, object]], None]
_LOOKS = 20
"""Checks within the limit: the watchdog is late by at most a twentieth of it."""


class Watchdog:
    """Calls `expired(seconds)` from its own thread once there was no progress for `limit` seconds.

    It uses a thread and not a signal, because a library that keeps the main thread in C code never lets a handler run.
    """

    def __init__(self, limit: float, expired: Callable[[float], None]) -> None:
        self._limit = limit
        self._expired = expired
        self._moved = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def wrap_progress(self, progress: Progress) -> Progress:
        """Returns a progress function that also resets the watchdog."""

        def progress_and_reset(event: Mapping[str, object]) -> None:
            self._moved = time.monotonic()
            progress(event)

        return progress_and_reset

    def _watch(self) -> None:
        while not self._over.wait(self._limit / _LOOKS):
            idle_seconds = time.monotonic() - self._moved
            if idle_seconds >= self._limit:
                self._expired(idle_seconds)
                return
