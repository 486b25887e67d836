"""Evaluate: what the student of this iteration answers, on which rows it is wrong, and how often it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm2llm.artifacts.committed import parent_manifest
from llm2llm.data.rows import SEEDS, correct_by_id, evaluation_sets, predictions_in
from llm2llm.loop.signtest import compare
from llm2llm.loop.stages import step_folder
from llm2llm.loop.stopping import JUDGED_ON
from llm2llm.records import POOL, Metric, Paired, Report, Stage, canonical_json, to_jsonl
from llm2llm.runtime.context import StageResult, Step, StepContext
from llm2llm.stages.answers import Answered, answers
from llm2llm.stages.scores import score_predictions
from llm2llm.storage import Store


def run(step: Step, store: Store, context: StepContext) -> StageResult:
    """Answers both sets with one engine load.

    Raises:
        Terminated: SIGTERM came; a new attempt asks what is left.
        ConfigurationError: the engine is not there.
        GpuOutOfMemory: the GPU does not hold the student with one row.
        MetricInvalid: a score is not a number.
    """
    with context.timed("load"):
        sets = evaluation_sets(store, step)
    answered = answers(step, store, context, sets)
    metrics, files = score_sets(answered)
    wrong = {dataset: answered[dataset].mistakes for dataset in POOL if dataset in answered}
    changes = _changes(step, store, answered)
    files["changes.json"] = (canonical_json(changes.document()) + "\n").encode()
    report = Report(
        **step.address,
        metrics=metrics,
        paired=changes.paired,
        learned=len(changes.learned),
        forgotten=len(changes.forgotten),
        mistakes=sum(wrong.values()),
        message=", ".join(
            f"{count} of {len(answered[dataset].examples)} {dataset} rows are wrong" for dataset, count in wrong.items()
        ),
    )
    return StageResult(files, report)


@dataclass(frozen=True)
class Changes:
    """How the verdicts on the same rows changed: against the iteration to beat, and against the one before."""

    paired: Paired | None
    learned: Sequence[str]
    forgotten: Sequence[str]

    def document(self) -> dict[str, Any]:
        """What `changes.json` says: ids of the seed rows, in the order of the seed set."""
        # "learnt" is part of the step's output, and so of its digest: it keeps its spelling
        told = {"learnt": list(self.learned), "forgotten": list(self.forgotten)}
        return told | ({"paired": self.paired.model_dump(mode="json")} if self.paired else {})


def _changes(step: Step, store: Store, answered: Mapping[str, Answered]) -> Changes:
    """Compares with the evaluations among the parents: the oldest of them is the one to beat (loop.parents)."""
    earlier = [i for i in range(step.iteration) if step_folder(Stage.EVALUATE, i) in step.parents]
    if not earlier:
        return Changes(None, (), ())

    def verdicts(iteration: int, dataset: str) -> dict[str, bool]:
        evaluated = parent_manifest(store, step, step_folder(Stage.EVALUATE, iteration))
        return correct_by_id(predictions_in(store, evaluated, dataset))

    judged = next(dataset for dataset in JUDGED_ON if dataset in answered)
    now = correct_by_id(answered[judged].predictions)
    seeds = correct_by_id(answered[SEEDS].predictions) if SEEDS in answered else {}
    before = verdicts(earlier[-1], SEEDS) if seeds else {}
    return Changes(
        compare(earlier[0], judged, verdicts(earlier[0], judged), now),
        [row for row, correct in seeds.items() if correct and before.get(row) is False],
        [row for row, correct in seeds.items() if not correct and before.get(row) is True],
    )


def score_sets(answered: Mapping[str, Answered]) -> tuple[tuple[Metric, ...], dict[str, bytes]]:
    """The scores of some sets, and the files that hold them: predictions of each and `scores.json` of all.

    Raises:
        MetricInvalid: a set has no rows.
    """
    metrics: list[Metric] = []
    told: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for dataset, of in answered.items():
        scores, told[dataset] = score_predictions(dataset, of.examples, of.predictions, of.task)
        metrics += scores
        files[f"predictions.{dataset}.jsonl"] = to_jsonl(of.predictions)
    files["scores.json"] = (canonical_json(told) + "\n").encode()
    return tuple(metrics), files
