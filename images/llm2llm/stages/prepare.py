"""Prepare: freeze the inputs, and find out everything that can be found out before a GPU is asked for.

On a CPU, within seconds, without torch. What is wrong is told together, in one report.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llm2llm.api import AugmentationRunSpec
from llm2llm.errors import ConfigurationError, DataError, ExitCode, StepError
from llm2llm.layout import INPUTS
from llm2llm.records import (
    Example,
    Report,
    Resolved,
    Stage,
    StepDocument,
    Usage,
    canonical_json,
    digest_of,
    to_jsonl,
)
from llm2llm.stages.commit import commit
from llm2llm.stages.context import StepContext
from llm2llm.stages.intake import Rows, lines_where, read_rows
from llm2llm.stages.rows import EVALUATION, SEED
from llm2llm.storage import Store, read_source
from llm2llm.storage.hub import fetch_model, model_revision
from llm2llm.tasks import Task, grading, task_of
from llm2llm.tasks.tokens import Tokens, context_length, load_quickly


@dataclass(frozen=True)
class _Model:
    """What Prepare needs of the base model."""

    revision: str
    tokens: Tokens
    context: int


def run(step: StepDocument, store: Store, context: StepContext) -> Report:
    """Freezes seed and evaluation set and the identity of model and task.

    Raises:
        StepError: everything that is wrong, in one message; of the kind of the first problem that no retry mends.
    """
    spec = AugmentationRunSpec.model_validate(step.spec)
    problems: list[StepError] = []
    seeds = held_out = task = model = None
    with _noted(problems):
        task = task_of(spec.task)
    with _noted(problems), context.timed("load"):
        seeds = _read("data.seed", spec.data.seed.uri, spec.data.seed.fields, spec, context)
    if spec.data.evaluation is not None:
        with _noted(problems), context.timed("load"):
            mapping = spec.data.evaluation.fields or spec.data.seed.fields
            held_out = _read("data.evaluation", spec.data.evaluation.uri, mapping, spec, context)
    with _noted(problems):
        model = _inspect_model(spec, context)
    sets = {name: rows for name, rows in (("data.seed", seeds), ("data.evaluation", held_out)) if rows is not None}
    with _noted(problems), context.timed("compute"):
        for rows in sets.values():
            if task is not None:
                _pass_through_task(rows, task)
            if task is not None and model is not None:
                _check_lengths(rows, task, model, spec)
    problems += [DataError(problem) for name, rows in sets.items() if (problem := rows.problem(name))]
    with _noted(problems):
        prove_create(store)
    usage = Usage()
    with _noted(problems), context.timed("probe"):
        usage = _probe_teacher(spec, context.environ)
    if problems or task is None or seeds is None or model is None:
        raise _together(problems)
    dropped = _drop_seed_rows(seeds, held_out, task) if held_out else 0
    return _commit(step, store, context, model, [row.example for row in seeds.rows], held_out, usage, dropped)


@contextmanager
def _noted(problems: list[StepError]) -> Iterator[None]:
    """A problem ends its own check and no other."""
    try:
        yield
    except StepError as error:
        problems.append(error)


def _together(problems: Sequence[StepError]) -> StepError:
    """One error with all messages, of the kind of the first problem that no retry mends."""
    lasting = [error for error in problems if error.exit_code != ExitCode.TRANSIENT]
    kind = type((lasting or list(problems))[0])
    return kind("\n".join(error.message for error in problems))


def _read(name: str, uri: str, mapping: Mapping[str, str], spec: AugmentationRunSpec, context: StepContext) -> Rows:
    if "completion" not in mapping:
        raise ConfigurationError(f"spec.{name}.fields: 'completion' is missing, the name of the answer's field")
    rows = read_rows(uri, read_source(uri, spec.artifacts, context.environ), mapping)
    if not rows.rows and not rows.broken:
        raise DataError(f"{name} {uri} has no rows")
    return rows


def _inspect_model(spec: AugmentationRunSpec, context: StepContext) -> _Model:
    with context.timed("load"):
        revision = model_revision(spec, context.environ)
        folder: Path = fetch_model(spec, revision, context.environ, context.scratch, weights=False)
        return _Model(revision, load_quickly(folder), context_length(folder))


def _pass_through_task(rows: Rows, task: Task) -> None:
    rows.refuse(
        lines_where(rows.rows, [task.problem_with(row.example.fields, row.example.completion) for row in rows.rows])
    )


def _check_lengths(rows: Rows, task: Task, model: _Model, spec: AugmentationRunSpec) -> None:
    """A row longer than maxLength would be cut silently, in its prompt or, worse, in its answer."""
    prompts = model.tokens.prompts([task.render(row.example.fields) for row in rows.rows])
    completions = model.tokens.completions([row.example.completion for row in rows.rows])
    limit = spec.train.hyperparameters.max_length
    limit = min(limit, model.context) if model.context else limit
    rows.refuse(
        lines_where(
            rows.rows,
            [
                _length_problem(len(prompt), len(completion), limit)
                for prompt, completion in zip(prompts, completions, strict=True)
            ],
        )
    )


def _length_problem(prompt: int, completion: int, limit: int) -> str | None:
    if prompt == 0:
        return "the prompt has no tokens"
    if prompt + completion > limit:
        return f"{prompt} tokens of prompt and {completion} of completion exceed maxLength {limit}"
    return None


def prove_create(store: Store) -> None:
    """Creates one random key twice: a store that lets both succeed would let two pods commit one step.

    Raises:
        ConfigurationError: the store has no conditional put.
    """
    key = f"{INPUTS}/probes/{secrets.token_hex(8)}"
    # After a lost answer the first may say False of its own object: only a second True is wrong.
    store.create(key, b"first")
    second = store.create(key, b"second")
    content = store.read(key)
    store.delete(key)
    if second or content != b"first":
        raise ConfigurationError(
            f"{store.uri} ignores If-None-Match on PUT, so two pods could commit one step: use a store with "
            "conditional writes"
        )


def _probe_teacher(spec: AugmentationRunSpec, environ: Mapping[str, str]) -> Usage:
    """One small request, unless the run never generates (`maxIterations: 1`)."""
    if spec.max_iterations == 1:
        return Usage()
    from llm2llm.teacher.client import probe

    return probe(spec.generate, environ)


def _drop_seed_rows(seeds: Rows, held_out: Rows, task: Task) -> int:
    """Takes out evaluation rows whose prompt is also a seed's: they are trained on, so they prove nothing.

    Raises:
        DataError: nothing is left.
    """
    taught = {grading.fold(task.render(row.example.fields)) for row in seeds.rows}
    before = len(held_out.rows)
    held_out.rows = [row for row in held_out.rows if grading.fold(task.render(row.example.fields)) not in taught]
    if not held_out.rows:
        raise DataError(f"data.evaluation {held_out.uri}: every row is also a seed row")
    return before - len(held_out.rows)


def _commit(
    step: StepDocument,
    store: Store,
    context: StepContext,
    model: _Model,
    seeds: list[Example],
    held_out: Rows | None,
    usage: Usage,
    dropped: int,
) -> Report:
    spec = AugmentationRunSpec.model_validate(step.spec)
    evaluation = [row.example for row in held_out.rows] if held_out else []
    identity = {
        "model": {"uri": spec.student.model.uri, "revision": model.revision},
        "task": spec.task.model_dump(mode="json", by_alias=True),
    }
    files = {SEED: to_jsonl(seeds), "identity.json": (canonical_json(identity) + "\n").encode()}
    if evaluation:
        files[EVALUATION] = to_jsonl(evaluation)
    report = Report(
        run_uid=step.run_uid,
        stage=Stage.PREPARE,
        attempt=step.attempt,
        message=f"{dropped} evaluation rows are also seed rows and were dropped" if dropped else "",
        usage=usage,
        resolved=Resolved(
            model_revision=model.revision,
            engine=spec.evaluate.resolved_engine(),
            seed_count=len(seeds),
            evaluation_count=len(evaluation),
            inputs_digest=_digest(seeds),
            evaluation_digest=_digest(evaluation) if evaluation else "",
        ),
    )
    return commit(store, step, context, files, report)


def _digest(examples: Sequence[Example]) -> str:
    return digest_of([example.model_dump(mode="json") for example in examples])
