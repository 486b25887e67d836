"""Trains with transformers' Trainer, over the steps of our own plan.

Trainer sees the whole run as one epoch of micro-batches that plan.py lists, so it skips exactly the right ones when it
resumes from a checkpoint, and the loss of an optimizer step is the mean over its tokens however it is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from llm2llm.api import stages as api_stages
from llm2llm.errors import GpuOutOfMemory
from llm2llm.training import model as students
from llm2llm.training.callback import CheckpointCallback, Hooks
from llm2llm.training.data import Collation, TokenizedRow, keep_learned
from llm2llm.training.loss import TokenMean
from llm2llm.training.model import Precision
from llm2llm.training.plan import TrainingPlan
from llm2llm.training.ranks import Ranks

_GPU = "cuda"
_CHECKPOINTING = {"use_reentrant": False}


@dataclass(frozen=True)
class FitResult:
    """How far a training run got.

    Attributes:
        steps: optimizer steps of the whole run so far.
        losses: mean loss over the tokens of each step that this attempt took.
        stopped: whether SIGTERM ended it after a checkpoint.
    """

    steps: int
    losses: tuple[float, ...]
    stopped: bool


def fit(
    model: Any,
    rows: Sequence[TokenizedRow],
    plan: TrainingPlan,
    train: api_stages.Train,
    *,
    collation: Collation,
    precision: Precision,
    scratch: Path,
    hooks: Hooks,
    ranks: Ranks,
    resume: Path | None = None,
) -> tuple[FitResult, Trainer]:
    """Trains `model` in place.

    Returns:
        How far it got, and the trainer, which can gather a sharded model.

    Raises:
        GpuOutOfMemory: a micro-batch did not fit, though the trial did.
        MetricInvalid: the loss is not a number; no checkpoint of it is left.
    """
    loss = TokenMean()
    callback = CheckpointCallback(loss, plan, hooks, ranks)
    trainer = _PlannedTrainer(
        model=model,
        args=_arguments(train, plan, precision, scratch, ranks),
        train_dataset=list(rows),
        data_collator=_collate(collation, model),
        compute_loss_func=loss,
        callbacks=[callback],
    )
    trainer.plan = plan
    trainer.remove_callback(PrinterCallback)
    if ranks.size > 1:
        trainer.add_callback(_Wrapped(trainer, FSDPModule if uses_fsdp(train, ranks) else DistributedDataParallel))
    with translate_memory_errors(plan.micro_batch):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    stopped = callback.stopped and trainer.state.global_step < plan.steps
    losses = tuple(ranks.all_reduce_sum(loss.shares()).tolist())
    return FitResult(steps=trainer.state.global_step, losses=losses, stopped=stopped), trainer


def find_micro_batch(
    model: Any,
    rows: Sequence[TokenizedRow],
    collation: Collation,
    precision: Precision,
    ceiling: int,
    *,
    checkpointing: bool,
) -> int:
    """Returns the largest of ceiling, ceiling/2, ... that fits on the GPU with the longest rows; on a CPU the ceiling.

    Raises:
        GpuOutOfMemory: not even one row fits.
    """
    if not torch.cuda.is_available():
        return ceiling
    longest = sorted(rows, key=lambda row: len(row.ids), reverse=True)
    model.to(_GPU).train()
    if checkpointing:  # Trainer does this only when it begins
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=_CHECKPOINTING)
    size = ceiling
    while not _fits(model, _collate(collation, model)(longest[:size]), precision):
        if size == 1:
            raise _out_of_memory(1, None)
        size = math.ceil(size / 2)
    return size


@contextmanager
def translate_memory_errors(micro_batch: int) -> Iterator[None]:
    """Turns torch's out-of-memory error into GpuOutOfMemory with the micro-batch; 1 if a smaller one would not help."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise _out_of_memory(micro_batch, error) from error


def _out_of_memory(micro_batch: int, error: Exception | None) -> GpuOutOfMemory:
    detail = f" ({error})" if error else ""
    return GpuOutOfMemory(
        f"the GPU does not have enough memory for a micro-batch of {micro_batch}{detail}: request a larger GPU, or "
        "set hyperparameters.gradientCheckpointing or a smaller maxLength",
        micro_batch,
    )


def uses_fsdp(train: api_stages.Train, ranks: Ranks) -> bool:
    """Returns whether the weights are sharded over the ranks: if all of them are trained, on several GPUs.

    On CPUs accelerate silently uses DistributedDataParallel instead; this function does so explicitly.
    """
    return train.method == "Full" and ranks.size > 1 and torch.cuda.is_available()


def _fits(model: Any, batch: dict[str, torch.Tensor], precision: Precision) -> bool:
    try:
        # As much as AdamW will hold from its first step on: two numbers for each trained one.
        moments = [torch.empty_like(weight) for weight in model.parameters() if weight.requires_grad for _ in range(2)]
        batch = {name: tensor.to(_GPU) for name, tensor in batch.items()}
        labels = batch.pop("labels")
        with torch.autocast(_GPU, torch.bfloat16, enabled=precision == "bf16"):
            loss = TokenMean()(model(**batch), labels, num_items_in_batch=1)
        torch.autograd.backward(loss)
        del moments
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    return True


def _arguments(
    train: api_stages.Train, plan: TrainingPlan, precision: Precision, scratch: Path, ranks: Ranks
) -> TrainingArguments:
    parameters = train.hyperparameters
    cuda = torch.cuda.is_available()
    checkpointing = parameters.gradient_checkpointing
    shards = uses_fsdp(train, ranks)
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
        gradient_checkpointing=checkpointing and not shards,
        gradient_checkpointing_kwargs=_CHECKPOINTING,
        bf16=precision == "bf16",
        use_cpu=not cuda,
        seed=plan.seed + ranks.rank,  # other rows, other dropout masks
        optim="adamw_torch",
        save_strategy="no",  # the callback decides when
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it would wait for the GPU after each micro-batch
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        ddp_backend=None if cuda or ranks.size == 1 else "gloo",
        fsdp=shards or None,  # type: ignore[arg-type]  # it expects True; a string is its older form
        fsdp_config={"state_dict_type": "FULL_STATE_DICT", "activation_checkpointing": checkpointing}
        if shards
        else None,
    )
    # Trainer would silently use DataParallel on several visible GPUs, with another loss: one process, one GPU.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # noqa: SLF001 - there is no public switch
    return arguments


_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class _Wrapped(TrainerCallback):
    """Checks that the model is wrapped: otherwise each of several ranks would silently train a model of its own."""

    def __init__(self, trainer: Trainer, expected: type) -> None:
        self._trainer = trainer
        self._expected = expected

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        wrapped = self._trainer.model_wrapped
        if not isinstance(wrapped, self._expected):
            raise AssertionError(f"the model is {type(wrapped).__name__}, not {self._expected.__name__}")  # noqa: TRY004


def _collate(collation: Collation, model: Any) -> Callable[[Sequence[TokenizedRow]], dict[str, torch.Tensor]]:
    def collate(rows: Sequence[TokenizedRow]) -> dict[str, torch.Tensor]:
        batch = keep_learned(collation(rows)) if selects else collation(rows)
        return {name: torch.tensor(values) for name, values in batch.items()}

    selects = students.selects_logits(model)
    return collate


class _PlannedTrainer(Trainer):
    """Uses the plan's micro-batches instead of a shuffled data loader (Trainer has no other way to set them)."""

    plan: TrainingPlan

    def get_train_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        return DataLoader(
            cast("Dataset[dict[str, torch.Tensor]]", self.train_dataset),
            batch_sampler=self.plan,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            # A separate generator: the loader would draw from the one that dropout uses.
            generator=torch.Generator().manual_seed(self.plan.seed),
        )

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        """Returns 0: nobody reads the value, and computing it visits all parameters in every step."""
        return 0
