"""Keeps a second command out of a run's folder while the first one works there: both would pay the teacher.

In a folder the holder locks `run.lock`, which frees itself however its process ends. In a bucket, or where the file
system has no locks, it renews a record in `run.lock` (heartbeat.py), and a record that is not renewed is taken over.
The record says who holds the run, for the message to the others.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from llm2llm.errors import StepError, Transient
from llm2llm.local.heartbeat import hold_by_heartbeat
from llm2llm.local.holder import LOCK, in_use, read_holder, this_process
from llm2llm.runtime.disk import ADVICE
from llm2llm.storage import LocalStore, Store
from llm2llm.storage.local import NO_LOCKS

_RECORD_BYTES = 4096


class Hold(Protocol):
    """A run that is held."""

    def confirm(self) -> None:
        """Makes sure that this process still holds the run, before it pays for something.

        Raises:
            Transient: another one does, or the store cannot be asked.
        """

    def lost(self) -> Transient | None:
        """Returns the error of a run that another process has taken over; None while it is held."""


class _Undisputed:
    """A run that nobody can take over: a locked file is held until its process ends."""

    def confirm(self) -> None:
        """Does nothing."""

    def lost(self) -> None:
        return None


@contextmanager
def hold_run(store: Store, stopping: threading.Event, say: Callable[[str], None]) -> Iterator[Hold]:
    """Holds a run during a block, and releases it however the block ends.

    Args:
        store: its root is the run's.
        stopping: ends a wait; it is set if the run is lost, so that the step under way stops.
        say: shows a message.

    Raises:
        Transient: another process holds the run, or has taken it over during the block.
        Terminated: `stopping` was set during a wait.
    """
    with _lock(store) as locked:
        if locked:
            yield _Undisputed()
            return
        if isinstance(store, LocalStore):
            say(
                f"warning: {store.uri} is on a file system without locks: a heartbeat in {LOCK} keeps other commands "
                "out, and after a crash the next one waits for it"
            )
        with hold_by_heartbeat(store, this_process(), stopping, say) as heartbeat:
            hold = heartbeat or _Undisputed()
            try:
                yield hold
            except StepError as error:  # stopped, because the run was lost
                if lost := hold.lost():
                    raise lost from error
                raise


@contextmanager
def _lock(store: Store) -> Iterator[bool]:
    """Locks a folder's `run.lock` during a block; yields whether there is such a lock.

    Raises:
        Transient: another process has it.
    """
    if not isinstance(store, LocalStore):
        yield False
        return
    with _translate_errors(store.uri):
        path = store.path(LOCK)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    ours = {descriptor}

    def close_in_child() -> None:
        for number in ours:
            os.close(number)

    # A forked child would share the lock, and one that outlives this process (vLLM's engine may) would keep it.
    os.register_at_fork(after_in_child=close_in_child)
    try:
        with _translate_errors(store.uri):
            locked = _try_lock(descriptor, store.uri)
        if locked:
            with suppress(OSError):  # a full disk: the lock holds, and the others are not told whose it is
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, this_process().to_bytes(), 0)
        try:
            yield locked
        finally:
            if locked:
                os.ftruncate(descriptor, 0)
    finally:
        ours.clear()
        os.close(descriptor)


@contextmanager
def _translate_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "OSError")
        raise Transient(f"{uri}/{LOCK}: {error.strerror or error} ({name}): {ADVICE}") from error


def _try_lock(descriptor: int, uri: str) -> bool:
    """Locks a file; returns False if its file system has no locks. Raises Transient if another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise in_use(uri, read_holder(os.pread(descriptor, _RECORD_BYTES, 0))) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True
