"""Reads the frozen sets of a run, and the student's predictions on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm2llm.api.data import folded
from llm2llm.artifacts.committed import parent_manifest, read_object
from llm2llm.data.sampling import folds
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.loop.outcomes import StepId
from llm2llm.loop.probing import FOLDS, fold_of
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.records import Example, Manifest, Prediction, Resolved, Stage, examples_from_jsonl, predictions_from_jsonl
from llm2llm.runtime.context import Step
from llm2llm.storage import Store

SEED = "seed.jsonl"
EVALUATION = "evaluation.jsonl"
TEST = "test.jsonl"
SYNTHETIC = "synthetic.jsonl"
SEEDS, PROBED, WRITTEN, HELD_OUT = "seed", "probe", "synthetic", "evaluation"
"""Datasets of an evaluation."""


def read_examples(store: Store, manifest: Manifest, name: str) -> list[Example]:
    """Returns a frozen set; empty if the step froze none of this name.

    Raises:
        IncompatibleArtifacts: it is damaged.
    """
    if all(entry.name != name for entry in manifest.objects):
        return []
    return list(examples_from_jsonl(read_object(store, manifest, name)))


def training_set(store: Store, step: Step) -> list[Example]:
    """Returns D(i): the seed set, then the synthetic sets of earlier iterations (LLM2LLM, algorithm 1).

    A probing iteration leaves out one fold of the seed set, and the rows that were written for it.
    """
    seeds = read_examples(store, parent_manifest(store, step, INPUTS), SEED)
    fold = probed_ids(step, seeds)
    return [row for row in (*seeds, *synthetic_rows(store, step)) if fold is None or row.root not in fold]


def probed_ids(step: Step, seeds: Sequence[Example]) -> frozenset[str] | None:
    """Returns the ids of the seed rows that an iteration does not train on and answers; None if there are none."""
    spec = step.spec
    fold = fold_of(spec, step.iteration)
    if fold is None:
        return None
    labels = [folded(seed.completion) if spec.task.labeled else "" for seed in seeds]
    parts = folds(labels, FOLDS, seed=spec.random_seed)
    return frozenset(seed.id for seed, part in zip(seeds, parts, strict=True) if part == fold)


def synthetic_rows(store: Store, step: Step) -> list[Example]:
    """Returns the rows of the synthetic sets that a step reads, in the order of their iterations."""
    rounds = StepId(step.stage, step.iteration).rounds
    folders = [step_folder(Stage.GENERATE, iteration) for iteration in range(rounds)]
    return [
        row
        for folder in folders
        if folder in step.parents
        for row in read_examples(store, parent_manifest(store, step, folder), SYNTHETIC)
    ]


def evaluation_sets(store: Store, step: Step) -> dict[str, list[Example]]:
    """Returns dataset to the rows that Evaluate has the student answer, without empty sets."""
    inputs = parent_manifest(store, step, INPUTS)
    seeds = read_examples(store, inputs, SEED)
    fold = probed_ids(step, seeds)
    sets = {
        SEEDS if fold is None else PROBED: [row for row in seeds if fold is None or row.id in fold],
        WRITTEN: [row for row in synthetic_rows(store, step) if fold is None or row.root in fold],
        HELD_OUT: read_examples(store, inputs, EVALUATION),
    }
    return {dataset: rows for dataset, rows in sets.items() if rows}


def predictions_in(store: Store, evaluated: Manifest, dataset: str) -> list[Prediction]:
    """Returns the student's answers to a set; empty if it was not evaluated on it.

    Raises:
        IncompatibleArtifacts: the answers are damaged.
    """
    name = f"predictions.{dataset}.jsonl"
    if all(entry.name != name for entry in evaluated.objects):
        return []
    return list(predictions_from_jsonl(read_object(store, evaluated, name)))


def correct_by_id(predictions: Iterable[Prediction]) -> dict[str, bool]:
    """Returns row id to whether its answer is right, in the order of the rows."""
    return {prediction.id: prediction.correct for prediction in predictions}


def read_resolved(manifest: Manifest) -> Resolved:
    """Returns what Prepare resolved.

    Raises:
        IncompatibleArtifacts: the manifest is not one of Prepare's.
    """
    if manifest.report.resolved is None:
        raise IncompatibleArtifacts("the inputs manifest has no model revision: it was not written by Prepare")
    return manifest.report.resolved
