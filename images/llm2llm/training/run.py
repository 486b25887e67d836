"""A whole training, from files on this machine to files on this machine: what each of its processes does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from llm2llm.api import stages as api_stages
from llm2llm.training import model as students
from llm2llm.training import trainer
from llm2llm.training.callback import Hooks, divergence_error
from llm2llm.training.data import Collation, TokenizedRow, pack, pad
from llm2llm.training.packing import has_varlen_attention, isolates_rows
from llm2llm.training.plan import Plan, limit_padding, plan
from llm2llm.training.ranks import Ranks

PACKED_TOKENS = 4096
"""Tokens, in the mean, of a micro-batch without padding: its mask has the square of them."""
PADDING_WASTE = 0.05
"""Share of the positions of padded micro-batches that may hold nothing."""


@dataclass(frozen=True)
class TrainingJob:
    """One training. It passes between processes, so it holds nothing but data.

    Attributes:
        base: folder of the base model.
        start: adapter or model to go on from, in another folder.
        rows: D(i).
        train: method, hyperparameters.
        seed: the run's random seed.
        micro_batch: rows at most that one process puts through the model at once.
        resume: a checkpoint of this training.
        scratch: for what a training leaves behind while it lasts.
        target: where the trained student goes.
        model_uri: the base model's, to be named by an adapter.
        revision: of the base model.
        trusted: whether Python files beside the base may be run.
    """

    base: Path
    start: Path | None
    rows: Sequence[TokenizedRow]
    train: api_stages.Train
    seed: int
    micro_batch: int
    resume: Path | None
    scratch: Path
    target: Path
    model_uri: str
    revision: str
    trusted: bool


@dataclass(frozen=True)
class TrainingResult:
    """What came of it. Nothing is in `target` if it was stopped."""

    outcome: trainer.FitResult
    planned_steps: int
    micro_batch: int


def load_model(job: TrainingJob) -> Any:
    """The student to be trained.

    Raises:
        ConfigurationError: its weights cannot be loaded.
        GpuOutOfMemory: they do not fit.
    """
    precision = students.resolve_precision(job.train.precision)
    with trainer.translate_memory_errors(1):
        return students.load_student(
            job.base, job.train, precision, seed=job.seed, start=job.start, trusted=job.trusted
        )


def train(job: TrainingJob, student: Any, hooks: Hooks, ranks: Ranks) -> TrainingResult:
    """Trains a loaded student and writes it to `job.target`.

    Raises:
        GpuOutOfMemory: not even the smallest trial fitted.
        MetricInvalid: the loss or a weight became NaN or infinite.
    """
    precision = students.resolve_precision(job.train.precision)
    with trainer.translate_memory_errors(1):
        collation, made = _plan_training(job, student, precision, ranks)
    hooks.progress(
        {
            "microBatch": made.micro_batch,
            "accumulation": made.accumulation,
            "paddingFree": collation is pack,
            "paddingWaste": 0.0 if collation is pack else round(made.padding_waste(), 3),
        }
    )
    outcome, run = trainer.fit(
        student,
        job.rows,
        made,
        job.train,
        collation=collation,
        precision=precision,
        scratch=job.scratch,
        hooks=hooks,
        ranks=ranks,
        resume=job.resume,
    )
    if not outcome.stopped:
        if not ranks.all_reduce_min(int(students.is_finite(student))):
            raise divergence_error(outcome.steps)
        weights = run.accelerator.get_state_dict(run.model_wrapped) if trainer.uses_fsdp(job.train, ranks) else None
        if ranks.rank == 0:
            _write(job, student, precision, weights)
    ranks.barrier()
    return TrainingResult(outcome, made.steps, made.micro_batch)


def _plan_training(
    job: TrainingJob, student: Any, precision: students.Precision, ranks: Ranks
) -> tuple[Collation, Plan]:
    """The steps of this rank, and how a micro-batch is put together.

    Without padding where that pays and this model keeps rows apart; else with as little of it as rows of like length
    allow. The micro-batch is the largest that every rank's GPU holds, and no larger than pays.
    """
    parameters = job.train.hyperparameters
    lengths = [len(row.ids) for row in job.rows]
    batch = min(parameters.effective_batch_size, len(lengths))
    micro_batch = min(job.micro_batch, math.ceil(batch / ranks.size))
    # In parts it fits where it would not as a whole, so a model that is divided over the GPUs is not tried before.
    whole = not trainer.uses_fsdp(job.train, ranks)
    apart = (
        whole
        and has_varlen_attention(student)
        and bool(ranks.all_reduce_min(int(isolates_rows(student, job.rows, precision))))
    )
    collation: Collation = pack if apart else pad
    made = plan(
        lengths,
        epochs=parameters.num_train_epochs,
        batch=parameters.effective_batch_size,
        min_steps=job.train.min_steps,
        seed=job.seed,
        micro_batch=micro_batch,
        rank=ranks.rank,
        ranks=ranks.size,
    )
    if apart:
        mean = sum(lengths) / len(lengths)
        made = replace(made, micro_batch=max(1, min(made.micro_batch, int(PACKED_TOKENS / mean))), padded=False)
    else:
        made = limit_padding(made, PADDING_WASTE)
    if whole:
        fits = trainer.find_micro_batch(
            student,
            job.rows,
            collation,
            precision,
            made.micro_batch,
            checkpointing=parameters.gradient_checkpointing,
        )
        made = replace(made, micro_batch=ranks.all_reduce_min(fits))
    return collation, made


def _write(
    job: TrainingJob, student: Any, precision: students.Precision, weights: dict[str, torch.Tensor] | None
) -> None:
    if job.train.method == "Full":
        students.save_model(student, job.base, job.target, precision=precision, weights=weights)
    else:
        students.save_adapter(student, job.base, job.target, model_uri=job.model_uri, revision=job.revision)
