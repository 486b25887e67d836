"""An event loop whose clock jumps to the next timer: an hour of waiting costs nothing, and takes an hour on any machine.

While a call of `asyncio.to_thread` runs the clock stands still, unless that thread itself waits in `sleep`.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import Any, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Given = TypeVarTuple("Given")


class _Selector(selectors.DefaultSelector):
    """Returns what is ready, and lets the loop's clock jump where nothing is."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self.loop
        if timeout is None or loop.threads > loop.sleeping:
            return super().select(0 if timeout == 0 else None)
        events = super().select(0)
        if not events:
            loop.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its clock begins at 0.

    Attributes:
        now: seconds.
        threads: calls of `to_thread` that are awaited.
        sleeping: threads that wait in `sleep`.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.threads = self.sleeping = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Given], Result], *args: *Given
    ) -> asyncio.Future[Result]:
        def end(_: object) -> None:
            self.threads -= 1

        self.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(end)
        return future

    def sleep_in_thread(self, seconds: float) -> None:
        """Blocks the calling thread for so many virtual seconds."""
        over = threading.Event()

        def begin() -> None:
            self.sleeping += 1
            self.call_later(seconds, end)

        def end() -> None:
            self.sleeping -= 1
            over.set()

        self.call_soon_threadsafe(begin)
        over.wait()


_current: ContextVar[VirtualTimeLoop] = ContextVar("_current")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs it as `asyncio.run` does, in virtual time."""

    async def known() -> Result:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        _current.set(loop)
        return await main

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(known())


def sleep(seconds: float) -> None:
    """Sleeps as `time.sleep` does, in virtual time: for what runs in `asyncio.to_thread`."""
    _current.get().sleep_in_thread(seconds)
