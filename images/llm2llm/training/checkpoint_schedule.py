"""Decides when to take a checkpoint, so that a kill costs no more training than allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Upload(Protocol):
    """A checkpoint on its way to the store, e.g. a future."""

    def done(self) -> bool: ...

    def result(self) -> object:
        """Waits until the checkpoint is in the store; raises the error of a failed upload."""


class CheckpointSchedule:
    """Keeps the training that is not in the store below `interval` seconds, including the current step.

    A kill costs the training after the newest checkpoint in the store. So the next checkpoint is taken early, by the
    time that the last upload took, or by half an interval for the first one; if an upload takes longer than that, the
    training waits for it. If a single step is longer than the interval, there is a checkpoint after each step.

    Args:
        interval: seconds.
        clock: seconds, monotonic.
        begin: the clock's time when the training begins.
    """

    def __init__(self, interval: float, clock: Callable[[], float], begin: float) -> None:
        self.waited = 0.0
        """Seconds that the training has waited for uploads."""
        self._interval = interval
        self._clock = clock
        self._reserve = interval / 2
        self._idle = begin  # the part of the clock's time that was not training
        self._step = 0.0
        self._trained = self._taken = self._stored = 0.0  # seconds of training: so far, and in the checkpoints
        self._upload: Upload | None = None
        self._upload_started = begin

    def due(self, now: float) -> bool:
        """Returns whether to take a checkpoint; call it after each step. Waits for the previous upload if it has to.

        Raises:
            StepError: the previous upload failed.
        """
        trained = now - self._idle
        self._step, self._trained = trained - self._trained, trained
        if self._upload and (self._upload.done() or self._seconds_at_risk() > self._interval):
            self._await_upload(self._upload, now)
        return not self._upload and self._seconds_at_risk() > self._interval - self._reserve

    def record_start(self, upload: Upload) -> None:
        """Records that a checkpoint of the step last passed to `due` is being uploaded. Waits and raises as `due`."""
        self._upload_started = self._clock()
        self._idle = self._upload_started - self._trained
        self._taken = self._trained
        if self._seconds_at_risk() > self._interval:
            self._await_upload(upload, self._upload_started)
        else:
            self._upload = upload

    def _seconds_at_risk(self) -> float:
        """Returns the seconds of training that a kill at the end of the next step would cost."""
        return self._trained + self._step - self._stored

    def _await_upload(self, upload: Upload, now: float) -> None:
        upload.result()
        finished = self._clock()
        self.waited += finished - now
        self._idle += finished - now
        self._reserve = finished - self._upload_started
        self._stored = self._taken
        self._upload = None
