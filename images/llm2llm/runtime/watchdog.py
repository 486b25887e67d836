"""A step that hangs ends itself (fault 51): a hung GPU or a deadlock does not exit, and holds what others wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

Progress = Callable[[Mapping[str, object]], None]
_LOOKS = 20
"""Looks within the limit: the watchdog is late by a twentieth of it at most."""


class Watchdog:
    """Calls `expired(seconds)` from a thread of its own once nothing moved for `limit` seconds.

    A thread and not a signal: a library that holds the main thread in C code never gets to a handler.
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
        """The same progress, heard by the watchdog."""

        def told(event: Mapping[str, object]) -> None:
            self._moved = time.monotonic()
            progress(event)

        return told

    def _watch(self) -> None:
        while not self._over.wait(self._limit / _LOOKS):
            still = time.monotonic() - self._moved
            if still >= self._limit:
                self._expired(still)
                return
