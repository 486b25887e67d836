"""One training run by transformers' Trainer, over the steps of our own plan.

Trainer sees the whole run as one epoch of micro-batches that plan.py lists, so it skips exactly the right ones when it
goes on from a checkpoint, and the loss of an optimizer step is the mean over its tokens however it is cut.
"""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from llm2llm import api_stages
from llm2llm.errors import GpuOutOfMemory, MetricInvalid
from llm2llm.training.data import IGNORED, Row, padded
from llm2llm.training.model import Precision
from llm2llm.training.plan import Plan

_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Hooks:
    """What a training run needs from the stage around it.

    Attributes:
        save: makes a checkpoint durable: its folder on this machine, optimizer steps so far.
        stopping: set by SIGTERM.
        progress: takes an event now and then.
        clock: seconds, monotonic.
        interval: seconds between checkpoints.
    """

    save: Callable[[Path, int], None]
    stopping: threading.Event
    progress: Callable[[Mapping[str, object]], None]
    clock: Callable[[], float]
    interval: float


@dataclass(frozen=True)
class Outcome:
    """How far a training run came: `stopped` is True if SIGTERM ended it after a checkpoint."""

    steps: int
    loss: float
    stopped: bool


def fit(
    model: Any,
    rows: Sequence[Row],
    plan: Plan,
    train: api_stages.Train,
    *,
    pad: int,
    precision: Precision,
    scratch: Path,
    hooks: Hooks,
    resume: Path | None = None,
) -> Outcome:
    """Trains the adapter of `model` in place.

    Raises:
        GpuOutOfMemory: a micro-batch did not fit, though the trial did.
        MetricInvalid: the loss is no number; no checkpoint of it is left.
    """
    loss = _TokenMean()
    callback = _Durable(loss, plan, hooks)
    trainer = _PlannedTrainer(
        model=model,
        args=_arguments(train, plan, precision, scratch),
        train_dataset=list(rows),
        data_collator=_collate(pad),
        compute_loss_func=loss,
        callbacks=[callback],
    )
    trainer.plan = plan
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except torch.cuda.OutOfMemoryError as error:
        raise _out_of_memory(plan.micro_batch, error) from error
    stopped = callback.stopped and trainer.state.global_step < plan.steps
    return Outcome(steps=trainer.state.global_step, loss=loss.value(), stopped=stopped)


def fitting_micro_batch(model: Any, rows: Sequence[Row], pad: int, precision: Precision, ceiling: int) -> int:
    """The largest of ceiling, ceiling/2, ... that fits on the GPU with the longest rows; on a CPU the ceiling.

    Raises:
        GpuOutOfMemory: not even one row fits.
    """
    if not torch.cuda.is_available():
        return ceiling
    longest = sorted(rows, key=lambda row: len(row.ids), reverse=True)
    model.to("cuda").train()
    size = ceiling
    while not _fits(model, longest[:size], pad, precision):
        if size == 1:
            raise _out_of_memory(1, None)
        size = math.ceil(size / 2)
    return size


def diverged(step: int) -> MetricInvalid:
    """The error for a loss or a weight that is no number."""
    return MetricInvalid(f"training diverged: not a number after step {step}; lower train.hyperparameters.learningRate")


def _fits(model: Any, rows: Sequence[Row], pad: int, precision: Precision) -> bool:
    batch = {name: tensor.to("cuda") for name, tensor in _collate(pad)(rows).items()}
    labels = batch.pop("labels")
    try:
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            loss = _TokenMean()(model(**batch), labels, num_items_in_batch=1)
        torch.autograd.backward(loss)
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    return True


def _out_of_memory(micro_batch: int, error: Exception | None) -> GpuOutOfMemory:
    detail = f" ({error})" if error else ""
    return GpuOutOfMemory(
        f"the GPU's memory does not hold a micro-batch of {micro_batch}{detail}: ask for a larger GPU, or set "
        "hyperparameters.gradientCheckpointing or a smaller maxLength",
        micro_batch,
    )


def _arguments(train: api_stages.Train, plan: Plan, precision: Precision, scratch: Path) -> TrainingArguments:
    parameters = train.hyperparameters
    cuda = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(scratch),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.micro_batch,
        gradient_accumulation_steps=plan.accumulation,
        learning_rate=float(parameters.learning_rate),
        lr_scheduler_type=_SCHEDULES[parameters.lr_scheduler_type],
        warmup_steps=math.ceil(plan.steps * float(parameters.warmup_ratio)),
        weight_decay=float(parameters.weight_decay),
        max_grad_norm=float(parameters.max_grad_norm),
        gradient_checkpointing=parameters.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=precision == "bf16",
        use_cpu=not cuda,
        seed=plan.seed,
        optim="adamw_torch",
        save_strategy="no",  # the callback says when
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
    )
    # Several visible GPUs would silently become DataParallel, with another loss: one process, one GPU.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # noqa: SLF001 - there is no public switch
    return arguments


_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def _collate(pad: int) -> Callable[[Sequence[Row]], dict[str, torch.Tensor]]:
    return lambda rows: {name: torch.tensor(values) for name, values in padded(rows, pad).items()}


class _TokenMean:
    """The loss: cross entropy, summed over a micro-batch and divided by the tokens of its whole optimizer step."""

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        if num_items_in_batch is None:
            raise AssertionError("Trainer counts the tokens of a step for a loss function that is given to it")
        logits = outputs.logits[:, :-1].float().flatten(0, 1)
        targets = labels[:, 1:].flatten().to(logits.device)
        loss = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum") / num_items_in_batch
        self._last = loss.detach()
        return loss

    def value(self) -> float:
        """Of the last micro-batch, which is its share of the step's loss."""
        return math.nan if self._last is None else float(self._last)


class _PlannedTrainer(Trainer):
    """Trainer with the plan's micro-batches instead of a shuffled data loader (it has no other way to give one)."""

    plan: Plan

    def get_train_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        return DataLoader(
            cast("Dataset[dict[str, torch.Tensor]]", self.train_dataset),
            batch_sampler=self.plan,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            # A generator of its own: the loader would draw from the one that dropout uses.
            generator=torch.Generator().manual_seed(self.plan.seed),
        )

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        """Nobody reads it, and it walks over all parameters in every step."""
        return 0


class _Durable(TrainerCallback):
    """Asks for a checkpoint by interval and at SIGTERM, hands it on, and tells progress.

    At the end of a step everything that the next one depends on is at rest: so a run that goes on from there ends
    with the weights of an uninterrupted one.
    """

    def __init__(self, loss: _TokenMean, plan: Plan, hooks: Hooks) -> None:
        self.stopped = False
        self._loss = loss
        self._plan = plan
        self._hooks = hooks
        self._saved = self._told = self._begin = hooks.clock()
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._saved = self._told = self._begin = self._hooks.clock()
        self._first = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        now = self._hooks.clock()
        if state.global_step < self._plan.steps:
            self.stopped = self._hooks.stopping.is_set()
            control.should_training_stop |= self.stopped
            control.should_save |= self.stopped or now - self._saved >= self._hooks.interval
        tell = now - self._told >= _PROGRESS_SECONDS or state.global_step == self._plan.steps
        if tell or control.should_save:
            self._check(state.global_step)  # not in every step: on a GPU, looking at the loss waits for it
        if tell:
            self._told = now
            self._tell(state.global_step, now)

    def _check(self, step: int) -> None:
        if not math.isfinite(self._loss.value()):
            raise diverged(step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self._hooks.save(folder, state.global_step)
        shutil.rmtree(folder)
        self._saved = self._hooks.clock()

    def _tell(self, step: int, now: float) -> None:
        seconds = max(now - self._begin, 1e-9)
        done = step - self._first
        self._hooks.progress(
            {
                "step": step,
                "steps": self._plan.steps,
                "loss": round(self._loss.value(), 5),
                "rowsPerSecond": round(done * self._plan.batch / seconds, 1),
                "etaSeconds": round((self._plan.steps - step) * seconds / max(done, 1), 1),
            }
        )
