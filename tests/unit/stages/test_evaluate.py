"""What an evaluation says of the iterations before it, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import builders

from llm2llm.api.data import Task as TaskSpec
from llm2llm.artifacts.commit import commit
from llm2llm.errors import MetricInvalid
from llm2llm.loop.stages import step_folder
from llm2llm.records import Example, Paired, Prediction, Report, Stage, StepDocument, predictions_from_jsonl, to_jsonl
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.answers import Answered
from llm2llm.stages.evaluate import Changes, _compare_with_earlier, score_sets
from llm2llm.storage import LocalStore
from llm2llm.tasks import task_of

TASK = task_of(TaskSpec.model_validate({"promptTemplate": "{{ x }}", "grader": {"type": "ExactMatch"}}))


def predicted(verdicts: str) -> list[Prediction]:
    """A row for each letter, with its place as the id: right for +, wrong for -, and not asked for a dot."""
    return [
        Prediction(id=str(n), output="", correct=letter == "+", verdict="correct" if letter == "+" else "wrong")
        for n, letter in enumerate(verdicts)
        if letter != "."
    ]


def answered(verdicts: str) -> Answered:
    rows = predicted(verdicts)
    return Answered([Example(id=row.id, fields={}, completion="yes") for row in rows], rows, TASK)


class Run:
    """A run of which the evaluations of some iterations are committed."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder)
        self.digests: dict[str, str] = {}

    def step(self, iteration: int, *against: int) -> Step:
        folders = [step_folder(Stage.EVALUATE, earlier) for earlier in against]
        fields = {"namespace": "ns", "run": "r", "run_uid": "u", "spec": builders.spec(), "stage": Stage.EVALUATE}
        parents = {folder: self.digests[folder] for folder in folders}
        return Step.of(StepDocument.model_validate(fields | {"iteration": iteration, "parents": parents}))

    def evaluated(self, iteration: int, **sets: str) -> None:
        files = {f"predictions.{name}.jsonl": to_jsonl(predicted(verdicts)) for name, verdicts in sets.items()}
        step = self.step(iteration)
        report = commit(self.store, step, StepContext("pod", Path()), files, Report(**step.address))
        self.digests[step.folder] = report.digest

    def changes(self, iteration: int, *against: int, **sets: str) -> Changes:
        now = {name: answered(verdicts) for name, verdicts in sets.items()}
        return _compare_with_earlier(self.step(iteration, *against), self.store, now)


def test_the_first_iteration_has_nothing_to_compare_with(tmp_path: Path) -> None:
    changes = Run(tmp_path).changes(0, seed="+-", evaluation="+")

    assert changes == Changes(None, (), ())
    assert changes.document() == {"learnt": [], "forgotten": []}


def test_the_evaluation_set_is_compared_with_the_iteration_to_beat_and_the_seeds_with_the_one_before(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    run.evaluated(1, seed="----+", evaluation="++--")
    run.evaluated(2, seed="+-+-.", evaluation="----")
    changes = run.changes(3, 1, 2, seed="++--+", evaluation="+-++")

    assert changes.paired == Paired(against=1, dataset="evaluation", examples=4, gained=2, lost=1)
    assert (changes.learned, changes.forgotten) == (["1"], ["2"])  # of the last seed the one before says nothing
    assert changes.document() == {
        "learnt": ["1"],
        "forgotten": ["2"],
        "paired": {"against": 1, "dataset": "evaluation", "examples": 4, "gained": 2, "lost": 1},
    }


def test_without_an_evaluation_set_the_seeds_are_compared_with_the_iteration_to_beat(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluated(0, seed="+--")
    run.evaluated(1, seed="++-")
    changes = run.changes(2, 0, 1, seed="-++")

    assert changes.paired == Paired(against=0, dataset="seed", examples=3, gained=2, lost=1)
    assert (changes.learned, changes.forgotten) == (["2"], ["0"])


def test_a_probing_iteration_learns_and_forgets_nothing_because_no_fold_is_asked_twice(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluated(0, probe="+-..", evaluation="+-")
    changes = run.changes(1, 0, probe="..+-", evaluation="++")

    assert changes.paired == Paired(against=0, dataset="evaluation", examples=2, gained=1, lost=0)
    assert (changes.learned, changes.forgotten) == ([], [])


def test_each_set_has_its_predictions_and_all_of_them_one_file_of_scores() -> None:
    sets = {"seed": answered("++-+"), "evaluation": answered("-")}
    metrics, files = score_sets(sets)

    assert [(metric.dataset, metric.value) for metric in metrics] == [("seed", 0.75), ("evaluation", 0.0)]
    assert files.keys() == {"predictions.seed.jsonl", "predictions.evaluation.jsonl", "scores.json"}
    assert list(predictions_from_jsonl(files["predictions.seed.jsonl"])) == sets["seed"].predictions
    assert json.loads(files["scores.json"]).keys() == {"seed", "evaluation"}


def test_a_set_without_rows_has_no_score() -> None:
    with pytest.raises(MetricInvalid, match="evaluation set"):
        score_sets({"seed": answered("+"), "evaluation": answered("")})
