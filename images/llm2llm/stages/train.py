"""Stage Train: fine-tunes the student on D(i), from its base model or from the previous iteration.

It reads and tokenizes the training set, restores the newest checkpoint if there is one, trains in this process or in
one per GPU, uploads checkpoints, and returns the trained student's files.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.checkpoints import Checkpoints, Uploads
from llm2llm.artifacts.committed import download_folder, parent_manifest
from llm2llm.data.rows import read_resolved, training_set
from llm2llm.data.token_cache import TokenCache
from llm2llm.errors import DataError, Terminated
from llm2llm.layout import data_folder, trained_part
from llm2llm.loop.outcomes import describe_iteration
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.models.device import limit_threads
from llm2llm.models.fetch import fetch_model
from llm2llm.models.imports import without_torch_compile
from llm2llm.models.info import read_model_info
from llm2llm.models.names import loadable_name
from llm2llm.models.tokenizer import load_tokenizer
from llm2llm.records import Report, Stage, canonical_json, digest_of
from llm2llm.runtime.context import StageResult, Step, StepContext
from llm2llm.storage import Store
from llm2llm.tasks import task_of
from llm2llm.tasks.presets import expand_preset

if TYPE_CHECKING:
    from llm2llm.training.data import TokenizedRow
    from llm2llm.training.run import TrainingJob, TrainingResult


def run(step: Step, store: Store, context: StepContext) -> StageResult:
    """Trains the adapter or the model, from the newest checkpoint if there is one.

    Raises:
        Terminated: SIGTERM came; a checkpoint is in the store.
        GpuOutOfMemory: not even the smallest trial fit.
        MetricInvalid: the loss or a weight became NaN or infinite.
        Transient: one of several training processes died.
        IncompatibleArtifacts: a parent, a checkpoint or the base model is not this experiment's.
    """
    spec = step.spec
    with context.timed("load"):
        examples = training_set(store, step)
        revision = read_resolved(parent_manifest(store, step, INPUTS)).model_revision
    with context.timed("imports"), without_torch_compile():
        from llm2llm.training.run import TrainingJob
    with context.timed("load"):
        base = fetch_model(spec, revision, context.environ, context.scratch, store=store)
        trusted = spec.student.trust_remote_code
        tokenizer = load_tokenizer(base, chat=spec.task.chat_template == "Auto", trusted=trusted)
        token_cache = TokenCache.of(spec, revision, tokenizer, task_of(spec.task))
        context_tokens = read_model_info(base, trusted=trusted).context
        rows, dropped_message = _drop_long_rows(token_cache.rows(examples, store, context), spec, context_tokens)
        start = _download_start(step, store, spec, context)
    step_fields = {"stage": step.stage.value, "iteration": step.iteration}
    checkpoints = Checkpoints(
        store,
        step,
        pod_uid=context.pod_uid,
        keep=spec.train.checkpoint.keep,
        on_upload=lambda event: context.progress(step_fields | dict(event)),
    )
    work_folder = context.scratch / f"train-{step.iteration:03d}-{context.pod_uid}"
    restored = checkpoints.restore(work_folder / "resume")
    batch = spec.train.hyperparameters.effective_batch_size
    micro_batch = min(step.micro_batch or batch, batch)
    if restored:
        # The cut of a step decides which dropout masks its rows get: an exact resume needs the same micro-batch.
        context.progress(step_fields | {"resumedFrom": restored.step})
        micro_batch = min(micro_batch, restored.micro_batch)
    part = trained_part(spec)
    job = TrainingJob(
        base=base,
        start=start,
        rows=rows,
        train=spec.train,
        seed=spec.random_seed,
        micro_batch=micro_batch,
        resume=work_folder / "resume" if restored else None,
        scratch=work_folder / "trainer",
        target=work_folder / part,
        model_uri=spec.student.model.uri,
        revision=revision,
        trusted=trusted,
    )
    with Uploads(checkpoints) as uploads:
        trained = _run_training(job, step, uploads, context)
        uploads.settle()
    if trained.outcome.stopped:
        raise Terminated(
            f"stopped by SIGTERM after step {trained.outcome.steps} of {trained.planned_steps}; "
            "a checkpoint is in the store"
        )
    folder = data_folder(step.folder, context.pod_uid)
    report = Report(
        **step.address,
        train_examples=len(rows),
        optimizer_steps=trained.outcome.steps,
        micro_batch=trained.micro_batch,
        model_uri=f"{store.uri}/{folder}/{part}",
        message=dropped_message,
    )
    return StageResult(_output_files(work_folder / part, spec, report, rows, chat=tokenizer.chat is not None), report)


def _run_training(job: TrainingJob, step: Step, uploads: Uploads, context: StepContext) -> TrainingResult:
    """Trains in this process, or in one process per GPU."""
    with context.timed("imports"):
        import torch

        from llm2llm.training import run as session
        from llm2llm.training.callback import Hooks
        from llm2llm.training.ranks import Ranks, processes
    step_fields = {"stage": step.stage.value, "iteration": step.iteration}
    hooks = Hooks(
        save=uploads.save,
        stopping=context.stopping,
        progress=lambda event: context.progress(step_fields | dict(event)),
        clock=context.clock,
        interval=job.train.checkpoint.interval_seconds,
    )
    count = processes(job.train.gpus, torch.cuda.device_count(), context.environ)
    if count > 1:
        from llm2llm.training.launch import train_in_processes

        context.progress(step_fields | {"processes": count})
        with context.timed("compute"):
            return train_in_processes(job, hooks, count, context.mask)
    context.progress(step_fields | {"threads": limit_threads()})
    with context.timed("load"):
        student = session.load_model(job)
    with context.timed("compute"):
        return session.train(job, student, hooks, Ranks())


def _download_start(step: Step, store: Store, spec: AugmentationRunSpec, context: StepContext) -> Path | None:
    """Downloads what the previous iteration has trained, if this one continues from it."""
    previous = step_folder(Stage.TRAIN, step.iteration - 1)
    if previous not in step.parents:
        return None
    target = context.scratch / f"start-{step.iteration:03d}-{context.pod_uid}"
    return download_folder(store, parent_manifest(store, step, previous), f"{trained_part(spec)}/", target)


def _drop_long_rows(
    rows: list[TokenizedRow], spec: AugmentationRunSpec, context_tokens: int
) -> tuple[list[TokenizedRow], str]:
    """Returns the rows within `maxLength` and the model's context, and a message about the others, if there are any.

    Prepare refuses longer seed rows, so only synthetic ones are dropped.
    """
    limit = min(spec.train.hyperparameters.max_length, context_tokens or sys.maxsize)
    fitting = [row for row in rows if len(row.ids) <= limit]
    if not fitting:
        raise DataError(f"no row fits within train.hyperparameters.maxLength and the model's context ({limit} tokens)")
    dropped = len(rows) - len(fitting)
    if not dropped:
        return fitting, ""
    return fitting, (
        f"{dropped} synthetic rows are left out of training: they have more than {limit} tokens, the limit set by "
        "train.hyperparameters.maxLength and the model's context"
    )


def _output_files(
    student: Path, spec: AugmentationRunSpec, report: Report, rows: list[TokenizedRow], *, chat: bool
) -> Mapping[str, bytes | Path]:
    part = student.name
    files: dict[str, bytes | Path] = {
        f"{part}/{path.name}": path for path in sorted(student.iterdir()) if path.name != "README.md"
    }
    files[f"{part}/prompt_template.jinja"] = expand_preset(spec.task).prompt_template.encode()
    files[f"{part}/README.md"] = _model_card(spec, report, chat=chat).encode()
    digest = digest_of([[row.id, row.ids, row.prompt] for row in rows])
    files["rows.json"] = (canonical_json({"examples": len(rows), "digest": digest}) + "\n").encode()
    return files


# These texts are part of the step's output, and of its digest: another spelling would make another digest.
_RESULTS = {
    "LoRA": "LoRA adapter for {uri}",
    "QLoRA": "LoRA adapter for {uri} in 4 bits (bitsandbytes nf4, double quantisation), to be used on just that base",
    "Full": "All weights of {uri} fine-tuned",
}


def _model_card(spec: AugmentationRunSpec, report: Report, *, chat: bool) -> str:
    uri = spec.student.model.uri
    whole = spec.train.method == "Full"
    turn = ", as the user's turn of the tokenizer's chat template" if chat else ""
    return (
        "---\n"
        f"base_model: {canonical_json(loadable_name(uri))}\n"
        f"base_model_relation: {'finetune' if whole else 'adapter'}\n"
        f"library_name: {'transformers' if whole else 'peft'}\n"
        "---\n\n"
        f"{_RESULTS[spec.train.method].format(uri=uri)}, {describe_iteration(report.iteration)} of an LLM2LLM run: "
        f"{report.train_examples} examples, {report.optimizer_steps} optimizer steps, "
        f"random seed {spec.random_seed}.\n\n"
        f"A prompt is `prompt_template.jinja` over the fields of a row{turn}; an answer ends with the tokenizer's EOS "
        "token and is decoded greedily.\n"
    )
