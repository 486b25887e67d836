"""Which rows are trained on, and which the student is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.artifacts.commit import commit
from llm2llm.data.rows import evaluation_sets, training_set
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.loop.outcomes import CLOSING
from llm2llm.loop.stages import step_folder
from llm2llm.records import Example, Lineage, Report, Stage, StepDocument, to_jsonl
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import LocalStore

SEEDS = [f"s{n}" for n in range(8)]
FIRST, SECOND = ([f"{seed}-{written}" for seed in SEEDS] for written in (0, 1))
"""What two rounds wrote, a row for each seed."""


def example(name: str) -> Example:
    seed, written, _ = name.partition("-")
    return Example(
        id=name, fields={"prompt": name}, completion="yes", lineage=Lineage(seed=seed, parent=seed) if written else None
    )


class Run:
    """A run of which Prepare and two rounds are committed."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.store = LocalStore(folder)
        self.spec = builders.spec(**changes)
        self.digests: dict[str, str] = {}
        self.commits(Stage.PREPARE, 0, {"seed.jsonl": SEEDS, "evaluation.jsonl": ["e0", "e1"]})
        self.commits(Stage.GENERATE, 0, {"synthetic.jsonl": FIRST})
        self.commits(Stage.GENERATE, 1, {"synthetic.jsonl": SECOND})

    def step(self, stage: Stage, iteration: int, *without: str) -> Step:
        parents = {folder: digest for folder, digest in self.digests.items() if folder not in without}
        return Step.of(
            StepDocument(
                stage=stage, iteration=iteration, namespace="ns", run="r", run_uid="u", spec=self.spec, parents=parents
            )
        )

    def commits(self, stage: Stage, iteration: int, sets: dict[str, list[str]]) -> None:
        files = {name: to_jsonl(map(example, rows)) for name, rows in sets.items()}
        report = Report(run_uid="u", stage=stage)
        told = commit(self.store, self.step(stage, iteration), StepContext("pod", Path()), files, report)
        self.digests[step_folder(stage, iteration)] = told.digest

    def trained_on(self, iteration: int) -> list[str]:
        return [row.id for row in training_set(self.store, self.step(Stage.TRAIN, iteration))]

    def asks(self, iteration: int, *without: str) -> dict[str, list[str]]:
        found = evaluation_sets(self.store, self.step(Stage.EVALUATE, iteration, *without))
        return {dataset: [row.id for row in rows] for dataset, rows in found.items()}


ROUNDS = [step_folder(Stage.GENERATE, iteration) for iteration in (0, 1)]


@pytest.mark.parametrize(("iteration", "rows"), [(0, SEEDS), (1, SEEDS + FIRST), (2, SEEDS + FIRST + SECOND)])
def test_an_iteration_trains_on_the_seeds_and_all_rounds_before_it(tmp_path: Path, iteration: int, rows: list[str]):
    assert Run(tmp_path).trained_on(iteration) == rows


def test_seeds_and_the_evaluation_set_are_asked_and_written_rows_where_they_are_read(tmp_path: Path):
    run = Run(tmp_path)
    assert run.asks(2, *ROUNDS) == {"seed": SEEDS, "evaluation": ["e0", "e1"]}
    assert run.asks(1) == {"seed": SEEDS, "synthetic": FIRST, "evaluation": ["e0", "e1"]}


def test_a_probing_iteration_is_asked_the_fold_that_it_was_not_trained_on(tmp_path: Path):
    run = Run(tmp_path, errorsFrom="Probe")
    folds = [run.asks(iteration, *ROUNDS)["probe"] for iteration in range(4)]
    assert sorted(seed for fold in folds for seed in fold) == SEEDS
    for iteration in range(3):
        fold = folds[iteration]
        rows = SEEDS + (FIRST + SECOND if iteration == 2 else FIRST if iteration else [])
        assert run.trained_on(iteration) == [name for name in rows if name.partition("-")[0] not in fold]
        assert "seed" not in run.asks(iteration)
    assert run.asks(1)["synthetic"] == [f"{seed}-0" for seed in folds[1]]


def test_the_closing_iteration_trains_on_all_and_is_asked_all(tmp_path: Path):
    run = Run(tmp_path, errorsFrom="Probe")
    closing = CLOSING + 3
    assert run.trained_on(closing) == SEEDS + FIRST + SECOND
    assert run.asks(closing, *ROUNDS) == {"seed": SEEDS, "evaluation": ["e0", "e1"]}


def test_rows_of_another_output_than_the_one_committed_are_not_read(tmp_path: Path):
    run = Run(tmp_path)
    run.digests[ROUNDS[0]] = "sha256:0"
    with pytest.raises(IncompatibleArtifacts, match=f"{ROUNDS[0]}/manifest.json has digest"):
        run.trained_on(1)
