"""Ends a step that hangs (fault 51): a hung GPU or a deadlock never exits, and holds resources that others wait for."""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

Progress = Callable[[Mapping[str, object]], None]
_LOOKS = 20
"""Checks within the limit: the watchdog is late by at most a twentieth of it."""
GRACE = 60.0
"""Seconds beyond the limit after which the process is killed, if no thread of it runs.

While threads run, each look of the watchdog puts that off, the last one as well: from then on its own end of the step
may take the limit and these seconds.
"""


class Watchdog:
    """Calls `expired(seconds)` from its own thread once there was no progress for `limit` seconds.

    It uses a thread and not a signal, because a library that keeps the main thread in C code never lets a handler run.
    A library may even keep the interpreter, so that no thread runs: then a timer of `faulthandler`, which needs none,
    prints the stacks and ends the process with exit code 1.
    """

    def __init__(self, limit: float, expired: Callable[[float], None], *, grace: float = GRACE) -> None:
        self._limit = limit
        self._expired = expired
        self._grace = grace
        self._moved = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._set_timer()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def wrap_progress(self, progress: Progress) -> Progress:
        """Returns a progress function that also resets the watchdog."""

        def progress_and_reset(event: Mapping[str, object]) -> None:
            self._moved = time.monotonic()
            progress(event)

        return progress_and_reset

    def _watch(self) -> None:
        while not self._over.wait(self._limit / _LOOKS):
            self._set_timer()
            idle_seconds = time.monotonic() - self._moved
            if idle_seconds >= self._limit:
                self._expired(idle_seconds)
                return

    def _set_timer(self) -> None:
        """Sets the timer anew, as long as threads run at all."""
        faulthandler.dump_traceback_later(self._limit + self._grace, exit=True, file=sys.__stderr__ or sys.stderr)
