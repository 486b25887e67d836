"""Holds a run in a bucket, which has no locks: its holder renews a record, and what is not renewed is taken over.

Every write is conditional on the record that its writer has seen, so of two processes one wins. Clocks of two machines
are never compared: whoever waits measures, by its own clock, for how long the record has stayed the same. A holder that
was suspended, or cut off from the bucket, may have been replaced meanwhile; so it asks the bucket before it pays for
anything if its last confirmed renewal is `DOUBT_SECONDS` old, which is well before anyone takes over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from llm2llm.errors import ConfigurationError, StepError, Terminated, Transient
from llm2llm.local.holder import LOCK, Holder, in_use, read_holder
from llm2llm.storage import ObjectMissing, Store

BEAT_SECONDS = 5.0
"""Between two renewals of the record; one that is renewed shows a waiting command that the run is in use."""
STALE_SECONDS = 30.0
"""A record that has not been renewed for this long is taken over: its holder was killed."""
DOUBT_SECONDS = 15.0
"""A holder that has not renewed its record for this long confirms it before it pays for anything."""
POLL_SECONDS = 1.0
"""Between two looks at the record of another holder."""
_NO_TAG = f'"{"0" * 32}"'
"""In the form of an ETag, and that of no record."""


def seconds_since_boot() -> float:
    """Returns a clock that goes on while the machine sleeps, as that of another machine does."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has the second alone, and it goes on there
    return time.clock_gettime(clock)


@contextmanager
def hold_by_heartbeat(
    store: Store, holder: Holder, stopping: threading.Event, say: Callable[[str], None]
) -> Iterator[Heartbeat | None]:
    """Holds a run during a block, renewing its record in a thread; afterwards marks it as released.

    Yields:
        The heartbeat; None if the store cannot replace an object on a condition, which a warning says.

    Raises:
        Transient: another process holds the run.
        Terminated: `stopping` was set before that was known.
    """
    heartbeat = Heartbeat(store, holder, stopping)
    try:
        heartbeat.claim(say)
        heartbeat.check_conditions()
        heartbeat.renew()
    except ConfigurationError as error:  # a store that knows If-None-Match, but no If-Match
        say(f"warning: nothing keeps a second command out of {store.uri}, which cannot renew {LOCK}: {error.message}")
        store.delete(LOCK)
        yield None
        return
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(StepError):  # the store is away: the next one may succeed, and `confirm` tells
                heartbeat.renew()

    thread = threading.Thread(target=renew, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield heartbeat
    finally:
        ended.set()
        thread.join()
        with suppress(StepError):  # then the next command waits, as after a crash
            heartbeat.release()


class Heartbeat:
    """The record of one holder.

    Args:
        store: its root is the run's.
        holder: this process.
        stopping: ends a wait; is set if the run is lost.
        clock: in seconds; for how long the record was not renewed.
        waiting_clock: in seconds; for how long another holder's has not been. It must stand still while this machine
            sleeps, because then that holder may sleep as well.
    """

    def __init__(
        self,
        store: Store,
        holder: Holder,
        stopping: threading.Event,
        *,
        clock: Callable[[], float] = seconds_since_boot,
        waiting_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._holder = holder
        self._stopping = stopping
        self._clock = clock
        self._waiting_clock = waiting_clock
        self._tag = ""
        self._renewed_at = 0.0
        self._lost: Transient | None = None
        self._one_at_a_time = threading.Lock()

    def claim(self, say: Callable[[str], None]) -> None:
        """Takes a run that is free, or whose holder has not renewed its record for STALE_SECONDS.

        Raises:
            Transient: another process holds it.
            Terminated: `stopping` was set before that was known.
        """
        seen_tag, seen_at = "", 0.0
        while not self._stopping.is_set():
            asked_at = self._waiting_clock()
            try:
                data, tag = self._store.read_tagged(LOCK)
            except ObjectMissing:
                began = self._clock()
                self._store.create(LOCK, self._holder.to_bytes())
                if self._read_own(began):
                    return
                continue
            other = read_holder(data)
            is_stale = tag == seen_tag and asked_at - seen_at >= STALE_SECONDS
            if other is None or is_stale:
                began = self._clock()
                self._store.replace(LOCK, self._holder.to_bytes(), tag)
                if self._read_own(began):
                    return
                continue
            if seen_tag and tag != seen_tag:
                raise in_use(self._store.uri, other)
            if not seen_tag:
                say(f"{self._store.uri} was in use by {other}: watching for up to {STALE_SECONDS:.0f} s if it still is")
                seen_tag, seen_at = tag, self._waiting_clock()
            self._stopping.wait(POLL_SECONDS)
        raise Terminated("interrupted: run the same command again")

    def check_conditions(self) -> None:
        """Makes sure that the store does not replace the record for a writer who has not seen it.

        Raises:
            ConfigurationError: it does, or says that it knows no such condition.
        """
        if self._store.replace(LOCK, self._holder.to_bytes(), _NO_TAG):
            raise ConfigurationError("it replaces an object whatever If-Match says")

    def renew(self) -> None:
        """Renews the record, and learns whether another process has taken it over.

        Raises:
            StepError: the store cannot be asked.
        """
        with self._one_at_a_time:
            if self._lost:
                return
            began = self._clock()
            self._holder = self._holder.model_copy(update={"beat": self._holder.beat + 1})
            if not self._store.replace(LOCK, self._holder.to_bytes(), self._tag):
                # Somebody removed the record. Otherwise this returns False: it is there.
                self._store.create(LOCK, self._holder.to_bytes())
            if not self._read_own(began):
                self._lost = Transient(
                    f"{self._store.uri} was taken over by another command while this one was suspended or cut off from "
                    "its store: this one stops, so that nothing is paid for twice; run it again once the other has "
                    "ended"
                )
                self._stopping.set()

    def confirm(self) -> None:
        """See Hold.confirm."""
        if self._lost is None and self._is_in_doubt():
            self.renew()
        if self._lost:
            raise self._lost
        if self._is_in_doubt():
            raise Transient(f"{self._store.uri}/{LOCK} could not be renewed")

    def lost(self) -> Transient | None:
        """See Hold.lost."""
        return self._lost

    def release(self) -> None:
        """Marks the record as released, unless another process has taken it over."""
        released = self._holder.model_copy(update={"released": True})
        if not self._lost:
            self._store.replace(LOCK, released.to_bytes(), self._tag)

    def _is_in_doubt(self) -> bool:
        return self._clock() - self._renewed_at > DOUBT_SECONDS

    def _read_own(self, began: float) -> bool:
        """Reads the record after a write that began then; returns whether it is this process's.

        The answer to the write alone would not do: if it was lost, its retry finds this process's own record.
        """
        try:
            data, tag = self._store.read_tagged(LOCK)
        except ObjectMissing:
            return False
        holder = read_holder(data)
        if holder is None or holder.token != self._holder.token:
            return False
        self._tag = tag
        if holder.beat == self._holder.beat:
            self._renewed_at = began
        return True
