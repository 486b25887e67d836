"""Bounds the CPU time of what a user's own pattern or template computes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_SHORTEST_REST = 0.001


class TimeLimitExceeded(Exception):
    """The CPU time of a block is over its limit."""


@contextmanager
def limit_cpu_time(seconds: float) -> Iterator[None]:
    """Ends a block of the main thread that uses more CPU time than this.

    Python's `re` looks for signals while it backtracks, though it lets no other thread run meanwhile. CPU time and not
    wall-clock time, so that a verdict does not depend on how busy the machine is. Handlers of signals run in the main
    thread, where steps compute; in other threads there is no limit but the watchdog's.

    Raises:
        TimeLimitExceeded: the limit was reached.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    end = time.thread_time() + seconds

    def expire(*_: object) -> None:
        rest = end - time.thread_time()  # the timer counts the CPU time of all threads
        if rest > _SHORTEST_REST:
            signal.setitimer(signal.ITIMER_VIRTUAL, rest)
        else:
            raise TimeLimitExceeded

    previous = signal.signal(signal.SIGVTALRM, expire)
    outer = (0.0, 0.0)
    try:
        outer = signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, *outer)
        signal.signal(signal.SIGVTALRM, previous)
