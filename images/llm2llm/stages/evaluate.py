"""Stage Evaluate: has the student of this iteration answer the evaluation sets, and scores its answers.

It also compares the verdicts with those of earlier iterations: with the iteration to beat, and with the previous one.
"""

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
from llm2llm.storage import Store
from llm2llm.tasks.scores import score_predictions


def run(step: Step, store: Store, context: StepContext) -> StageResult:
    """Answers all sets with one engine load, and scores the answers.

    Raises:
        Terminated: SIGTERM came; a new attempt answers the remaining rows.
        ConfigurationError: the engine is not available.
        GpuOutOfMemory: the GPU does not hold the student with one row.
        MetricInvalid: a score is not a number.
    """
    with context.timed("load"):
        sets = evaluation_sets(store, step)
    answered = answers(step, store, context, sets)
    metrics, files = score_sets(answered)
    wrong = {dataset: answered[dataset].mistakes for dataset in POOL if dataset in answered}
    changes = _compare_with_earlier(step, store, answered)
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
    """How the verdicts on the same rows changed since the iteration to beat, and since the previous iteration."""

    paired: Paired | None
    learned: Sequence[str]
    forgotten: Sequence[str]

    def document(self) -> dict[str, Any]:
        """Returns the content of `changes.json`: ids of the seed rows, in the order of the seed set."""
        # "learnt" is part of the step's output, and so of its digest: it keeps its spelling.
        changes = {"learnt": list(self.learned), "forgotten": list(self.forgotten)}
        return changes | ({"paired": self.paired.model_dump(mode="json")} if self.paired else {})


def _compare_with_earlier(step: Step, store: Store, answered: Mapping[str, Answered]) -> Changes:
    """Compares with the evaluations among the parents; the oldest is the iteration to beat (loop.steps.parents)."""
    earlier = [i for i in range(step.iteration) if step_folder(Stage.EVALUATE, i) in step.parents]
    if not earlier:
        return Changes(None, (), ())

    def verdicts(iteration: int, dataset: str) -> dict[str, bool]:
        evaluated = parent_manifest(store, step, step_folder(Stage.EVALUATE, iteration))
        return correct_by_id(predictions_in(store, evaluated, dataset))

    judged = next(dataset for dataset in JUDGED_ON if dataset in answered)
    now = correct_by_id(answered[judged].predictions)
    seeds = correct_by_id(answered[SEEDS].predictions) if SEEDS in answered else {}
    previously = verdicts(earlier[-1], SEEDS) if seeds else {}
    return Changes(
        compare(earlier[0], judged, verdicts(earlier[0], judged), now),
        [row for row, correct in seeds.items() if correct and previously.get(row) is False],
        [row for row, correct in seeds.items() if not correct and previously.get(row) is True],
    )


def score_sets(answered: Mapping[str, Answered]) -> tuple[tuple[Metric, ...], dict[str, bytes]]:
    """Scores some sets; returns the scores and the files: the predictions of each set, and `scores.json` for all.

    Raises:
        MetricInvalid: a set has no rows.
    """
    metrics: list[Metric] = []
    documents: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for dataset, answered_set in answered.items():
        scores, documents[dataset] = score_predictions(
            dataset, answered_set.examples, answered_set.predictions, answered_set.task
        )
        metrics += scores
        files[f"predictions.{dataset}.jsonl"] = to_jsonl(answered_set.predictions)
    files["scores.json"] = (canonical_json(documents) + "\n").encode()
    return tuple(metrics), files
