"""Train: fine-tune the student on D(i), from its base or from the adapter before, and commit the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llm2llm.api import AugmentationRunSpec
from llm2llm.errors import DataError, Terminated
from llm2llm.layout import INPUTS, content_key, data_folder, step_folder
from llm2llm.records import Report, Stage, StepDocument, canonical_json, digest_of
from llm2llm.stages.checkpoints import Checkpoints
from llm2llm.stages.commit import commit, download_folder, parent_manifest
from llm2llm.stages.context import StepContext
from llm2llm.stages.rows import resolved, token_rows, training_set
from llm2llm.storage import Store
from llm2llm.storage.hub import fetch_model
from llm2llm.tasks import task_of
from llm2llm.tasks.presets import spelt_out
from llm2llm.tasks.tokens import load_tokenizer

if TYPE_CHECKING:
    from llm2llm.training.data import Row
    from llm2llm.training.trainer import Outcome


def run(step: StepDocument, store: Store, context: StepContext) -> Report:
    """Trains, goes on from the newest checkpoint if there is one, and commits the adapter.

    Raises:
        Terminated: SIGTERM came; a checkpoint is in the store.
        GpuOutOfMemory: not even the smallest trial fitted.
        MetricInvalid: a weight became NaN or infinite.
        IncompatibleArtifacts: a parent, a checkpoint or the base model is not this experiment's.
    """
    spec = AugmentationRunSpec.model_validate(step.spec)
    with context.timed("load"):
        examples = training_set(store, step)
        revision = resolved(parent_manifest(store, step, INPUTS)).model_revision
    with context.timed("imports"):
        from llm2llm.training import model as students
        from llm2llm.training import plan as plans
        from llm2llm.training import trainer
    with context.timed("load"):
        base = fetch_model(spec, revision, context.environ, context.scratch)
        tokens = load_tokenizer(base, chat=spec.task.chat_template == "Auto")
        rows = _fitting(token_rows(examples, task_of(spec.task), tokens), spec, context)
        precision = students.resolve_precision(spec.train.precision)
        student = students.load_base(base, precision)
        before = step_folder(Stage.TRAIN, step.iteration - 1)
        if before in step.parents:
            adapter = context.scratch / f"start-{step.iteration:03d}-{context.pod_uid}"
            download_folder(store, parent_manifest(store, step, before), "adapter/", adapter)
            student = students.with_adapter_of(student, adapter, spec.random_seed)
        else:
            student = students.with_adapter(student, spec.train.lora, spec.random_seed)
    checkpoints = Checkpoints(
        store,
        step_folder(Stage.TRAIN, step.iteration),
        content_key=content_key(step),
        pod_uid=context.pod_uid,
        keep=spec.train.checkpoint.keep,
    )
    work = context.scratch / f"train-{step.iteration:03d}-{context.pod_uid}"
    restored = checkpoints.restore(work / "resume")
    parameters = spec.train.hyperparameters
    ceiling = min(step.micro_batch or parameters.effective_batch_size, len(rows), parameters.effective_batch_size)
    if restored:
        # The cut of a step decides which draws of dropout its rows get: going on exactly means going on with the same.
        context.progress({"stage": "Train", "iteration": step.iteration, "resumedFrom": restored.step})
        ceiling = min(ceiling, restored.micro_batch)
    with context.timed("compute"):
        micro_batch = trainer.fitting_micro_batch(student, rows, tokens.pad, precision, ceiling)
        plan = plans.plan(
            [len(row.ids) for row in rows],
            epochs=parameters.num_train_epochs,
            batch=parameters.effective_batch_size,
            min_steps=spec.train.min_steps,
            seed=spec.random_seed,
            micro_batch=micro_batch,
        )
        outcome = trainer.fit(
            student,
            rows,
            plan,
            spec.train,
            pad=tokens.pad,
            precision=precision,
            scratch=work / "trainer",
            resume=work / "resume" if restored else None,
            hooks=trainer.Hooks(
                save=lambda files, steps: checkpoints.save(files, step=steps, micro_batch=micro_batch),
                stopping=context.stopping,
                progress=lambda event: context.progress({"stage": "Train", "iteration": step.iteration} | dict(event)),
                clock=context.clock,
                interval=spec.train.checkpoint.interval_seconds,
            ),
        )
    if outcome.stopped:
        raise Terminated(f"stopped by SIGTERM after step {outcome.steps} of {plan.steps}; a checkpoint is in the store")
    if not students.is_finite(student):
        raise trainer.diverged(outcome.steps)
    students.save_adapter(student, base, work / "adapter", model_uri=spec.student.model.uri, revision=revision)
    report = _report(step, store, context, rows, outcome, micro_batch)
    files = _files(work / "adapter", spec, report, rows, chat=tokens.chat is not None)
    report = commit(store, step, context, files, report)
    checkpoints.clear()
    return report


def _fitting(rows: list[Row], spec: AugmentationRunSpec, context: StepContext) -> list[Row]:
    """Rows of at most `maxLength` tokens. Prepare refuses longer seed rows, so only synthetic ones are left out."""
    limit = spec.train.hyperparameters.max_length
    fitting = [row for row in rows if len(row.ids) <= limit]
    if not fitting:
        raise DataError(f"no row fits into train.hyperparameters.maxLength ({limit} tokens)")
    if len(fitting) < len(rows):
        context.progress({"stage": "Train", "rowsLongerThanMaxLength": len(rows) - len(fitting)})
    return fitting


def _report(
    step: StepDocument, store: Store, context: StepContext, rows: list[Row], outcome: Outcome, micro_batch: int
) -> Report:
    folder = data_folder(step_folder(Stage.TRAIN, step.iteration), context.pod_uid)
    return Report(
        run_uid=step.run_uid,
        stage=Stage.TRAIN,
        iteration=step.iteration,
        attempt=step.attempt,
        train_examples=len(rows),
        optimizer_steps=outcome.steps,
        micro_batch=micro_batch,
        model_uri=f"{store.uri}/{folder}/adapter",
    )


def _files(
    adapter: Path, spec: AugmentationRunSpec, report: Report, rows: list[Row], *, chat: bool
) -> Mapping[str, bytes | Path]:
    files: dict[str, bytes | Path] = {
        f"adapter/{path.name}": path for path in sorted(adapter.iterdir()) if path.name != "README.md"
    }
    files["adapter/prompt_template.jinja"] = spelt_out(spec.task).prompt_template.encode()
    files["adapter/README.md"] = _card(spec, report, chat=chat).encode()
    digest = digest_of([[row.id, row.ids, row.prompt] for row in rows])
    files["rows.json"] = (canonical_json({"examples": len(rows), "digest": digest}) + "\n").encode()
    return files


def _card(spec: AugmentationRunSpec, report: Report, *, chat: bool) -> str:
    model = spec.student.model
    turn = ", as the user's turn of the tokenizer's chat template" if chat else ""
    return (
        "---\n"
        f"base_model: {canonical_json(model.uri)}\n"
        "library_name: peft\n"
        "---\n\n"
        f"LoRA adapter for {model.uri}, iteration {report.iteration} of an LLM2LLM run: {report.train_examples} "
        f"examples, {report.optimizer_steps} optimizer steps, random seed {spec.random_seed}.\n\n"
        f"A prompt is `prompt_template.jinja` over the fields of a row{turn}; an answer ends with the tokenizer's EOS "
        "token and is decoded greedily.\n"
    )
