"""Stage Prepare: freezes the inputs, and checks everything that can be checked before the run asks for a GPU.

It runs on a CPU, within seconds, without torch. It reports all problems together, in one error.
"""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from llm2llm.api.base import dump_identity
from llm2llm.api.data import HeldOutSource, Source, folded
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.data.intake import SourceRows, mapping_problem, read_rows
from llm2llm.data.rows import EVALUATION, SEED, TEST
from llm2llm.data.sources import digest_of_content, read_content
from llm2llm.data.splits import BEFORE, check_folds, contradictions, drop_known_rows, hold_out_rows, sample_rows
from llm2llm.errors import ConfigurationError, DataError, ExitCode, StepError, Transient
from llm2llm.loop.stages import INPUTS
from llm2llm.models.fetch import fetch_model, find_weight_problems, model_revision
from llm2llm.models.info import check_model, check_vocabulary, read_model_info
from llm2llm.models.tokenizer import check_chat_template, load_tokenizer
from llm2llm.podenv import MODEL_CACHE
from llm2llm.records import Example, Report, Resolved, canonical_json, digest_of, to_jsonl
from llm2llm.runtime.context import StageResult, Step, StepContext
from llm2llm.runtime.disk import disk_advice
from llm2llm.runtime.passing import may_pass
from llm2llm.stages.engine_checks import check_adapter, check_engine, check_heads
from llm2llm.stages.estimate import budget_warning, describe_estimate, estimate
from llm2llm.stages.row_checks import StudentLimits, check_answers, refuse_invalid_rows, refuse_untokenizable_rows
from llm2llm.stages.size_checks import size_warnings
from llm2llm.stages.teacher_endpoint import resolve_teacher
from llm2llm.stages.teacher_probe import probe_teacher
from llm2llm.storage import Store
from llm2llm.tasks import Task, task_of

_MODEL = "spec.student.model"
_PROBLEMS_TOLD = 3
FILES = {"seed": SEED, "evaluation": EVALUATION, "test": TEST}


def run(step: Step, store: Store, context: StepContext) -> StageResult:
    """Freezes the seed, evaluation and test sets and the identity of model and task.

    Raises:
        StepError: all problems in one message; of the type of the first problem that a retry does not fix.
    """
    spec = step.spec
    problems: list[StepError] = []
    consequences: list[StepError] = []  # of broken rows, which are told first
    notes: list[str] = []
    digests: dict[str, str] = {}
    lengths: dict[str, dict[str, int]] = {}
    task = model = None
    with _collect_problem(problems):
        check_engine(spec)
    with _collect_problem(problems):
        task = _read_task(spec)
    sets = _read_sets(spec, task, context, digests, problems, consequences)
    model_problems: list[StepError] = []
    with _collect_problem(model_problems):
        model = _inspect_model(spec, store, context, model_problems)
    with _collect_problem(problems), context.timed("compute"):
        for rows in sets.values():
            if task is not None:
                refuse_invalid_rows(rows, task)
        if task is not None and model is not None:
            refuse_untokenizable_rows(sets, task, model, spec, lengths)
            notes += check_answers(sets, task, model, spec)
    problems += [*model_problems, *map(DataError, _row_problems(sets, spec)), *consequences]
    with _collect_problem(problems):
        verify_conditional_put(store)
    with _collect_problem(problems), context.timed("probe"):
        notes += _try_teacher(spec, sets if task is not None else {}, store, context)
    if problems or task is None or model is None:
        raise _combine_problems(problems)
    notes += [drop_known_rows(name, sets, task) for name in BEFORE if name in sets]
    notes += [contradictions(name, rows, task) for name, rows in sets.items()]
    examples = {name: [row.example for row in rows.rows] for name, rows in sets.items()}
    notes += size_warnings({name: len(rows) for name, rows in examples.items()})
    seeds = examples["seed"]
    found = estimate(spec, seeds, [lengths["seed"][seed.id] for seed in seeds], model.count)
    notes += [budget_warning(found, spec), describe_estimate(found, spec)]
    warnings_first = sorted(filter(None, notes), key=lambda note: not note.startswith("warning: "))
    return _result(step, context, model, examples, digests, "; ".join(warnings_first))


def _read_task(spec: AugmentationRunSpec) -> Task:
    """Returns the task; raises ConfigurationError if its template or its labels cannot work with these fields."""
    task = task_of(spec.task)
    _check_template(task)
    _check_labels(spec.task.labels)
    fields = spec.data.seed.fields
    if not mapping_problem(fields) and (problem := task.unknown_field(fields)):
        raise ConfigurationError(problem)
    return task


def _read_sets(
    spec: AugmentationRunSpec,
    task: Task | None,
    context: StepContext,
    digests: dict[str, str],
    problems: list[StepError],
    consequences: list[StepError],
) -> dict[str, SourceRows]:
    """Returns the rows of all sets, sampled and held out as the spec has it.

    Args:
        spec: of the run.
        task: of the run, None if it is invalid.
        context: of the step.
        digests: receives what identifies the content of each file.
        problems: receives what is wrong with the files.
        consequences: receives what the rows are too few for.
    """
    sets: dict[str, SourceRows] = {}
    for name, source in spec.data.sources().items():
        with _collect_problem(problems), context.timed("load"):
            if source.uri:
                sets[name], digests[name] = _read_set(name, source.uri, source, spec, context)
                if task is not None:
                    sets[name].normalize(task.normalize)
                with _collect_problem(consequences):
                    sample_rows(f"data.{name}", sets[name], source.sample, spec)
    with _collect_problem(consequences):
        hold_out_rows(sets, spec)
        check_folds(sets, spec)
    return sets


def _try_teacher(
    spec: AugmentationRunSpec, sets: Mapping[str, SourceRows], store: Store, context: StepContext
) -> list[str]:
    """Checks the teacher of a run, without rows if none can be used; returns what it found that fails nothing."""
    notes: list[str] = []
    examples = {name: [row.example for row in rows.rows] for name, rows in sets.items()}
    if spec.generate.teacher.source is not None:
        resolve_teacher(spec, spec.generate.teacher.source, store, context)  # only checked: generation freezes it
    elif spec.max_iterations > 1:  # else the run never generates
        held_out = [row for name, rows in examples.items() if name != "seed" for row in rows]
        notes.append(probe_teacher(spec, examples.get("seed", []), held_out, store, context, notes.append))
    return notes


def _row_problems(sets: Mapping[str, SourceRows], spec: AugmentationRunSpec) -> Iterator[str]:
    """Yields what is wrong with each file, once: rows that were held out of the seed set are told with it."""
    whole = {name: dict(rows.broken) for name, rows in sets.items()}
    for name, source in spec.data.sources().items():
        if name in whole and isinstance(source, HeldOutSource) and source.from_seed is not None:
            whole["seed"] |= whole.pop(name)
    for name, broken in whole.items():
        if problem := SourceRows(sets[name].uri, broken=broken).problem(f"data.{name}"):
            yield problem


def _check_template(task: Task) -> None:
    """Checks that the template uses a field: with Python's `{prompt}` all prompts would silently be the same."""
    if not task.names:
        raise ConfigurationError(
            "spec.task.promptTemplate: uses no field of the row, so all prompts would be the same: write a field with "
            "two braces, as in '{{ prompt }}'"
        )


def _check_labels(labels: Sequence[str]) -> None:
    """Checks that no two labels differ in the encoding of their accents alone, since no grader tells them apart."""
    known: dict[str, str] = {}
    for label in labels:
        other = known.setdefault(folded(label), label)
        if other != label:
            raise ConfigurationError(
                f"spec.task.labels: {other!a} and {label!a} are the same label in two Unicode forms: keep one"
            )


@contextmanager
def _collect_problem(problems: list[StepError], what: str = "Prepare") -> Iterator[None]:
    """Collects an error of the block, which ends that check and no other.

    An error that nobody foresaw is mostly what a library says about a model, a key or a file: a retry would say the
    same.
    """
    try:
        yield
    except StepError as error:
        problems.append(error)
    except Exception as error:  # noqa: BLE001 - see above
        traceback.print_exc()
        words = f"{what}: {traceback.format_exception_only(error)[-1].strip()}"
        problems.append(Transient(words + disk_advice(error)) if may_pass(error) else ConfigurationError(words))


def _combine_problems(problems: Sequence[StepError]) -> StepError:
    """Returns one error with all messages, of the type of the first problem that a retry does not fix."""
    lasting = [error for error in problems if error.exit_code != ExitCode.TRANSIENT]
    kind = type((lasting or list(problems))[0])
    # several checks may fail for one reason, as all that read one bucket do
    return kind("\n".join(dict.fromkeys(error.message for error in problems)))


def _read_set(
    name: str, uri: str, source: Source | HeldOutSource, spec: AugmentationRunSpec, context: StepContext
) -> tuple[SourceRows, str]:
    """Returns the rows of a file, and the digest of its content."""
    mapping = source.fields or spec.data.seed.fields
    if problem := mapping_problem(mapping):
        raise ConfigurationError(f"spec.data.{name}.fields: {problem}")
    content = read_content(name, uri, source, spec, context.environ)
    rows = read_rows(uri, content, mapping)
    if not rows.rows and not rows.broken:
        raise DataError(f"data.{name} {uri} has no rows")
    return rows, digest_of_content(content)


def _inspect_model(
    spec: AugmentationRunSpec, store: Store, context: StepContext, problems: list[StepError]
) -> StudentLimits | None:
    """Returns what Prepare needs of the base model, None if it cannot be read; each check adds its own problem."""
    folder = tokens = info = None
    revision, trusted = "", spec.student.trust_remote_code
    with _collect_problem(problems, _MODEL):
        revision = model_revision(spec, context.environ, store=store)
        folder = fetch_model(
            spec, revision, context.environ, context.scratch, weights=MODEL_CACHE in context.environ, store=store
        )
    if folder is None:
        return None
    with _collect_problem(problems, f"{_MODEL}: the tokenizer"):
        tokens = load_tokenizer(folder, chat=spec.task.chat_template == "Auto", trusted=trusted)
        check_chat_template(tokens)
    with _collect_problem(problems, f"{_MODEL}: config.json"):
        info = read_model_info(folder, trusted=trusted)
        check_model(folder)
    if info is None:
        return None
    with _collect_problem(problems, _MODEL):
        check_heads("spec.evaluate", info.heads, spec.evaluate.tensor_parallel_size)
        check_adapter(spec, info)
    with _collect_problem(problems, f"{_MODEL}: the weights"):
        lacks = find_weight_problems(spec, revision, context.environ, folder, info.vocabulary)
        if lacks:
            raise ConfigurationError(f"{_MODEL}: {'; '.join(lacks[:_PROBLEMS_TOLD])}")
    if tokens is None:
        return None
    with _collect_problem(problems, f"{_MODEL}: the tokenizer"):
        specials = [*tokens.prompts(["x"]), *tokens.completions(["x"])]  # one word alone shows what is put around it
        check_vocabulary(specials, info.vocabulary)
    return StudentLimits(revision, tokens, info.context, info.vocabulary)


def verify_conditional_put(store: Store) -> None:
    """Creates one random key twice: a store that lets both succeed would let two pods commit the same step.

    Raises:
        ConfigurationError: the store does not support conditional puts.
    """
    key = f"{INPUTS}/probes/{secrets.token_hex(8)}"
    # If a response is lost, the first create may return False for its own object: only a second True is wrong.
    store.create(key, b"first")
    second = store.create(key, b"second")
    content = store.read(key)
    store.delete(key)
    if second or content != b"first":
        raise ConfigurationError(
            f"{store.uri} ignores If-None-Match on PUT, so two pods could commit the same step: use a store that "
            "supports conditional writes"
        )


def _result(
    step: Step,
    context: StepContext,
    model: StudentLimits,
    examples: Mapping[str, Sequence[Example]],
    digests: Mapping[str, str],
    message: str,
) -> StageResult:
    """Returns the frozen files and the report about them."""
    spec = step.spec
    identity = {
        "model": {
            "uri": spec.student.model.uri,
            "revision": model.revision,
            "trustRemoteCode": spec.student.trust_remote_code,
        },
        "task": dump_identity(spec.task, exclude_none=False),  # the output's digest is every child's parent
    }
    files = {FILES[name]: to_jsonl(rows) for name, rows in examples.items()}
    files["identity.json"] = (canonical_json(identity) + "\n").encode()
    counts = {name: len(rows) for name, rows in examples.items()}
    report = Report(
        **step.address,
        message=message,
        usage=context.usage,
        resolved=Resolved(
            model_revision=model.revision,
            engine=spec.evaluate.resolved_engine(),
            seed_count=counts["seed"],
            evaluation_count=counts.get("evaluation", 0),
            test_count=counts.get("test", 0),
            inputs_digest=_digest(examples["seed"]),
            evaluation_digest=_digest(examples["evaluation"]) if "evaluation" in examples else "",
            sources=dict(digests),
        ),
    )
    return StageResult(files, report)


def _digest(examples: Sequence[Example]) -> str:
    return digest_of([example.model_dump(mode="json") for example in examples])
