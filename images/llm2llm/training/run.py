"""Runs a whole training in one process or in each of several, from files on this machine to files on this machine.

It loads the student, plans this rank's steps, trains, and writes the result.
"""

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
from llm2llm.training.plan import TrainingPlan, limit_padding, plan
from llm2llm.training.ranks import Ranks

PACKED_TOKENS = 4096
"""Mean number of tokens of a micro-batch without padding; its mask has the square of them."""
PADDING_WASTE = 0.05
"""Maximum share of padding among the positions of padded micro-batches."""


@dataclass(frozen=True)
class TrainingJob:
    """One training. It is sent between processes, so it contains only data.

    Attributes:
        base: folder of the base model.
        start: adapter or model to continue from, in another folder.
        rows: D(i).
        train: method, hyperparameters.
        seed: the run's random seed.
        micro_batch: maximum number of rows that one process puts through the model at once.
        resume: a checkpoint of this training.
        scratch: folder for temporary files of the training.
        target: folder for the trained student.
        model_uri: of the base model, to be named by an adapter.
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
    """The result of a training. `target` is empty if it was stopped."""

    outcome: trainer.FitResult
    planned_steps: int
    micro_batch: int


def load_model(job: TrainingJob) -> Any:
    """Loads the student to be trained.

    Raises:
        ConfigurationError: its weights cannot be loaded.
        GpuOutOfMemory: its weights do not fit.
    """
    precision = students.resolve_precision(job.train.precision)
    with trainer.translate_memory_errors(1):
        return students.load_student(
            job.base, job.train, precision, seed=job.seed, start=job.start, trusted=job.trusted
        )


def train(job: TrainingJob, student: Any, hooks: Hooks, ranks: Ranks) -> TrainingResult:
    """Trains a loaded student and writes it to `job.target`.

    Raises:
        GpuOutOfMemory: not even the smallest trial fit.
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
            _save_student(job, student, precision, weights)
    ranks.barrier()
    return TrainingResult(outcome, made.steps, made.micro_batch)


def _plan_training(
    job: TrainingJob, student: Any, precision: students.Precision, ranks: Ranks
) -> tuple[Collation, TrainingPlan]:
    """Returns how a micro-batch is put together, and the steps of this rank.

    Rows are packed without padding if that pays and this model isolates rows; else they are padded as little as rows of
    similar length allow. The micro-batch is the largest that fits on every rank's GPU, and no larger than pays.
    """
    parameters = job.train.hyperparameters
    lengths = [len(row.ids) for row in job.rows]
    batch = min(parameters.effective_batch_size, len(lengths))
    micro_batch = min(job.micro_batch, math.ceil(batch / ranks.size))
    # A model that is sharded over the GPUs may fit though the whole does not, so it is not tried beforehand.
    whole = not trainer.uses_fsdp(job.train, ranks)
    packed = (
        whole
        and has_varlen_attention(student)
        and bool(ranks.all_reduce_min(int(isolates_rows(student, job.rows, precision))))
    )
    collation: Collation = pack if packed else pad
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
    if packed:
        mean = sum(lengths) / len(lengths)
        made = replace(made, micro_batch=max(1, min(made.micro_batch, int(PACKED_TOKENS / mean))), padded=False)
    else:
        made = limit_padding(made, PADDING_WASTE)
    if whole:
        fitting = trainer.find_micro_batch(
            student,
            job.rows,
            collation,
            precision,
            made.micro_batch,
            checkpointing=parameters.gradient_checkpointing,
        )
        made = replace(made, micro_batch=ranks.all_reduce_min(fitting))
    return collation, made


def _save_student(
    job: TrainingJob, student: Any, precision: students.Precision, weights: dict[str, torch.Tensor] | None
) -> None:
    if job.train.method == "Full":
        students.save_model(student, job.base, job.target, precision=precision, weights=weights)
    else:
        students.save_adapter(student, job.base, job.target, model_uri=job.model_uri, revision=job.revision)
