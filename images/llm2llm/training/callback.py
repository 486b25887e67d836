"""What happens between two optimizer steps: the loss is kept, checkpoints are made, progress is told."""

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
from llm2llm.training.plan import Plan
from llm2llm.training.ranks import Ranks

_PROGRESS_SECONDS = 5.0


class Flag(Protocol):
    """An event of this process, or one that several share."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Hooks:
    """What a training run needs from the stage around it.

    Attributes:
        save: takes a checkpoint over, to make it durable: its folder on this machine, optimizer steps so far, the
            micro-batch. What it returns tells when that is done.
        stopping: set by SIGTERM.
        progress: takes an event now and then.
        clock: seconds, monotonic.
        interval: seconds of training that a kill may cost.
    """

    save: Callable[[Path, int, int], Upload]
    stopping: Flag
    progress: Callable[[Mapping[str, object]], None]
    clock: Callable[[], float]
    interval: float


def divergence_error(step: int) -> MetricInvalid:
    """The error for a loss or a weight that is no number."""
    return MetricInvalid(f"training diverged: not a number after step {step}; lower train.hyperparameters.learningRate")


class CheckpointCallback(TrainerCallback):
    """Asks for a checkpoint by interval and at SIGTERM, hands it on, and tells progress.

    At the end of a step everything that the next one depends on is at rest: so a run that goes on from there ends
    with the weights of an uninterrupted one. Rank 0 decides for all, and alone hands checkpoints on.
    """

    def __init__(self, loss: TokenMean, plan: Plan, hooks: Hooks, ranks: Ranks) -> None:
        self.stopped = False
        self._loss = loss
        self._plan = plan
        self._hooks = hooks
        self._ranks = ranks
        self._told = self._begin = hooks.clock()
        self._spacing = CheckpointSchedule(hooks.interval, hooks.clock, self._begin)
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._told = self._begin = self._hooks.clock()
        self._spacing = CheckpointSchedule(self._hooks.interval, self._hooks.clock, self._begin)
        self._first = state.global_step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._loss.begin_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        now = self._hooks.clock()
        last = state.global_step == self._plan.steps
        due = self._ranks.rank == 0 and not last and self._spacing.due(now)
        stopping = not last and self._hooks.stopping.is_set()
        tell = last or now - self._told >= _PROGRESS_SECONDS
        self.stopped, save, tell = self._ranks.broadcast(stopping, stopping or due, tell)
        control.should_training_stop |= self.stopped
        control.should_save |= save
        if tell or save:
            loss = float(
                self._ranks.all_reduce_sum(self._loss.last())
            )  # not in every step: on a GPU, looking at it waits for it
            if not math.isfinite(loss):
                raise divergence_error(state.global_step)
        if tell:
            self._told = now
            self._tell(state.global_step, now, loss)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._ranks.barrier()  # each rank has written its state of the random numbers
        if self._ranks.rank == 0:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self._spacing.started(self._hooks.save(folder, state.global_step, self._plan.micro_batch))

    def _tell(self, step: int, now: float, loss: float) -> None:
        seconds = max(now - self._begin, 1e-9)
        done = step - self._first
        waited = round(self._spacing.waited, 1)
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
