"""Runs between two optimizer steps: checks the loss, makes checkpoints, and reports progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback

from llm2llm.errors import MetricInvalid
from llm2llm.training.checkpoint_schedule import CheckpointSchedule, Upload
from llm2llm.training.loss import TokenMean
from llm2llm.training.plan import TrainingPlan
from llm2llm.training.ranks import Ranks

_PROGRESS_SECONDS = 5.0


class Flag(Protocol):
    """An event of this process, or one that several processes share."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Hooks:
    """What a training run needs from the stage around it.

    Attributes:
        save: uploads a checkpoint, given its folder on this machine, the optimizer steps so far, and the micro-batch.
            The returned upload says when the checkpoint is in the store.
        stopping: set by SIGTERM.
        progress: called with an event now and then.
        clock: seconds, monotonic.
        interval: seconds of training that a kill may cost.
    """

    save: Callable[[Path, int, int], Upload]
    stopping: Flag
    progress: Callable[[Mapping[str, object]], None]
    clock: Callable[[], float]
    interval: float


def divergence_error(step: int) -> MetricInvalid:
    """Returns the error for a loss or a weight that is not a number."""
    return MetricInvalid(f"training diverged: not a number after step {step}; lower train.hyperparameters.learningRate")


class CheckpointCallback(TrainerCallback):
    """Requests a checkpoint by interval and at SIGTERM, passes it to the upload, and reports progress.

    At the end of a step everything that the next one depends on is complete, so a run that resumes there ends with
    the weights of an uninterrupted one. Rank 0 decides for all ranks, and only rank 0 uploads checkpoints.
    """

    def __init__(self, loss: TokenMean, plan: TrainingPlan, hooks: Hooks, ranks: Ranks) -> None:
        self.stopped = False
        self._loss = loss
        self._plan = plan
        self._hooks = hooks
        self._ranks = ranks
        self._reported_at = self._begin = hooks.clock()
        self._schedule = CheckpointSchedule(hooks.interval, hooks.clock, self._begin)
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._reported_at = self._begin = self._hooks.clock()
        self._schedule = CheckpointSchedule(self._hooks.interval, self._hooks.clock, self._begin)
        self._first = state.global_step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._loss.begin_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        now = self._hooks.clock()
        last = state.global_step == self._plan.steps
        due = self._ranks.rank == 0 and not last and self._schedule.due(now)
        stopping = not last and self._hooks.stopping.is_set()
        report = last or now - self._reported_at >= _PROGRESS_SECONDS
        self.stopped, save, report = self._ranks.broadcast(stopping, stopping or due, report)
        control.should_training_stop |= self.stopped
        control.should_save |= save
        if report or save:
            loss = float(
                self._ranks.all_reduce_sum(self._loss.last())
            )  # not in every step: reading it from a GPU waits for the GPU
            if not math.isfinite(loss):
                raise divergence_error(state.global_step)
        if report:
            self._reported_at = now
            self._report_progress(state.global_step, now, loss)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._ranks.barrier()  # until each rank has written the state of its random numbers
        if self._ranks.rank == 0:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self._schedule.record_start(self._hooks.save(folder, state.global_step, self._plan.micro_batch))

    def _report_progress(self, step: int, now: float, loss: float) -> None:
        seconds = max(now - self._begin, 1e-9)
        done = step - self._first
        waited = round(self._schedule.waited, 1)
        self._hooks.progress(
            {
                "step": step,
                "steps": self._plan.steps,
                "loss": round(loss, 5),
                "rowsPerSecond": round(done * self._plan.batch / seconds, 1),
                "etaSeconds": round((self._plan.steps - step) * seconds / max(done, 1), 1),
            }
            | ({"waitedForCheckpoints": waited} if waited else {})
        )
