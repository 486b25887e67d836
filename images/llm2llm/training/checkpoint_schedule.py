"""When checkpoints are taken, so that a kill costs no more training than was allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Upload(Protocol):
    """A checkpoint on its way to the store, e.g. a future."""

    def done(self) -> bool: ...

    def result(self) -> object:
        """Waits until it is there; raises what befell it."""


class CheckpointSchedule:
    """Keeps what is not in the store below `interval` seconds of training, the step under way included.

    A kill costs what came after the newest checkpoint in the store. So the next one is taken as long before its time as
    the last one was on its way, the first one half an interval before; and where an upload takes longer than that, the
    training waits for it. Where a step alone is longer than the interval, there is a checkpoint after each.

    Args:
        interval: seconds.
        clock: seconds, monotonic.
        begin: its time when the training begins.
    """

    def __init__(self, interval: float, clock: Callable[[], float], begin: float) -> None:
        self.waited = 0.0
        """Seconds that the training has waited for uploads."""
        self._interval = interval
        self._clock = clock
        self._reserve = interval / 2
        self._idle = begin  # what of the clock's time was no training
        self._step = 0.0
        self._trained = self._taken = self._stored = 0.0  # seconds of training: so far, and what checkpoints hold
        self._upload: Upload | None = None
        self._left = begin

    def due(self, now: float) -> bool:
        """Whether to take a checkpoint; to be asked after each step. Waits for the one before if it has to.

        Raises:
            StepError: what befell the one before.
        """
        trained = now - self._idle
        self._step, self._trained = trained - self._trained, trained
        if self._upload and (self._upload.done() or self._costs() > self._interval):
            self._arrive(self._upload, now)
        return not self._upload and self._costs() > self._interval - self._reserve

    def started(self, upload: Upload) -> None:
        """A checkpoint of the last step that `due` was asked about is on its way. Raises and waits as `due`."""
        self._left = self._clock()
        self._idle = self._left - self._trained
        self._taken = self._trained
        if self._costs() > self._interval:
            self._arrive(upload, self._left)
        else:
            self._upload = upload

    def _costs(self) -> float:
        """Seconds of training that a kill at the end of the next step would cost."""
        return self._trained + self._step - self._stored

    def _arrive(self, upload: Upload, now: float) -> None:
        upload.result()
        then = self._clock()
        self.waited += then - now
        self._idle += then - now
        self._reserve = then - self._left
        self._stored = self._taken
        self._upload = None
