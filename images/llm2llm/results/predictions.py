"""Joins a student's answers with the rows that they answer, for other tools.

What Evaluate commits holds ids and answers alone: the rows are frozen once, in `inputs/`, and another content of
`predictions.*.jsonl` would be another output, so that committed evaluations would no longer be found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in
from llm2llm.data.intake import read_rows
from llm2llm.data.rows import (
    EVALUATION,
    HELD_OUT,
    PROBED,
    SEED,
    SEEDS,
    TEST,
    WRITTEN,
    predictions_in,
    read_examples,
    synthetic_rows,
)
from llm2llm.data.sources import digest_of_content, read_content
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts, StepError
from llm2llm.loop.outcomes import describe_iteration
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.records import Example, Manifest, Prediction, Stage
from llm2llm.report.collect import collect
from llm2llm.results.targets import NamedRun
from llm2llm.results.views import iteration_named

TESTED = "test"
DATASETS = (SEEDS, PROBED, WRITTEN, HELD_OUT, TESTED)
_COLUMNS = frozenset(("set", "id", "line", "iteration", "label", "answer", "extracted", "verdict", "correct"))
_ON_THE_HUB = "hf://"
"""Nothing is downloaded for the number of a line."""


def prediction_rows(
    run: NamedRun, index: int | None, dataset: str | None, environ: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yields a row for each answer of a student, right or wrong, in the order of the sets.

    Each has its `set`, `id`, and `iteration`, the row's fields, its right answer (`label`), the student's `answer`,
    what the grader `extracted` from it, the `verdict`, and whether it is `correct`; and the `line` of the user's file,
    if that is here and still the one that was read.

    Args:
        run: whose student answered.
        index: iteration of the student; the best one if None.
        dataset: one of DATASETS, or all that were answered if None.
        environ: has the keys of the user's files.

    Raises:
        ConfigurationError: there is no such student, or it did not answer this set.
        IncompatibleArtifacts: rows or answers are gone or damaged.
    """
    view = run.view()
    iteration = iteration_named(collect(view, run.store), index).index
    inputs, evaluated, tested = (
        manifest_in(run.store, folder)
        for folder in (INPUTS, step_folder(Stage.EVALUATE, iteration), step_folder(Stage.TEST, iteration))
    )
    if inputs is None or evaluated is None:
        raise IncompatibleArtifacts(f"{run.title}: the rows or answers of {describe_iteration(iteration)} are gone")
    answers = {name: predictions_in(run.store, evaluated, name) for name in DATASETS if name != TESTED}
    answers[TESTED] = predictions_in(run.store, tested, TESTED) if tested else []
    answered = [name for name in DATASETS if answers[name]]
    if dataset not in (None, *answered):
        raise ConfigurationError(
            f"{run.title}: {describe_iteration(iteration)} answered no {dataset} rows, only those of: "
            f"{', '.join(answered)}"
        )
    step = replace(view, stage=Stage.EVALUATE, iteration=iteration)
    manifests = {folder: manifest_in(run.store, folder) for folder in map(_round_folder, range(iteration + 1))}
    step = replace(step, parents={folder: manifest.digest for folder, manifest in manifests.items() if manifest})
    names = {SEEDS: SEED, PROBED: SEED, HELD_OUT: EVALUATION, TESTED: TEST}
    for name in answered if dataset is None else [dataset]:
        examples = synthetic_rows(run.store, step) if name == WRITTEN else read_examples(run.store, inputs, names[name])
        lines = line_numbers(view.spec, inputs, name, environ)
        rows = {example.id: example for example in examples}
        for given in answers[name]:
            if given.id not in rows:
                raise IncompatibleArtifacts(f"{run.title}: the {name} row {given.id} that was answered is gone")
            yield _row(name, iteration, rows[given.id], given, lines.get(given.id))


def _round_folder(iteration: int) -> str:
    return step_folder(Stage.GENERATE, iteration)


def _row(name: str, iteration: int, example: Example, given: Prediction, line: int | None) -> dict[str, Any]:
    fields = {f"field {field}" if field in _COLUMNS else field: text for field, text in example.fields.items()}
    return {
        "set": name,
        "id": given.id,
        **({} if line is None else {"line": line}),
        "iteration": iteration,
        **fields,
        "label": example.completion,
        "answer": given.output,
        "extracted": given.answer,
        "verdict": given.verdict,
        "correct": given.correct,
    }


def line_numbers(
    spec: AugmentationRunSpec, inputs: Manifest, dataset: str, environ: Mapping[str, str]
) -> dict[str, int]:
    """Returns row id to its line in the user's file; empty if that cannot be read, or is no longer what was read."""
    name = {SEEDS: "seed", PROBED: "seed", HELD_OUT: "evaluation", TESTED: "test"}.get(dataset, "")
    source = spec.data.sources().get(name)
    if source is not None and not source.uri:  # held out of the seed rows
        name, source = "seed", spec.data.seed
    then = (inputs.report.resolved.sources or {}).get(name) if inputs.report.resolved else None
    if source is None or not source.uri or not then or source.uri.startswith(_ON_THE_HUB):
        return {}
    try:
        content = read_content(name, source.uri, source, spec, environ)
        if digest_of_content(content) != then:
            return {}
        rows = read_rows(source.uri, content, source.fields or spec.data.seed.fields).rows
    except StepError:
        return {}
    return {row.example.id: row.line for row in rows}
