"""Weights that nobody will load again go, where the user wants that, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import keyword

from llm2llm.api.data import Reuse
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import manifest_in
from llm2llm.artifacts.retention import drop_weights, has_all_objects
from llm2llm.artifacts.reuse import copy_from_reused_run
from llm2llm.loop.outcomes import CLOSING, StepId, StepResult
from llm2llm.loop.stages import step_folder
from llm2llm.loop.steps import parents
from llm2llm.records import Metric, Report, Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import LocalStore


class History:
    """A run of which each iteration is committed with the score that is asked for."""

    def __init__(self, folder: Path, *, errors_from: str = "Seed", **artifacts: Any) -> None:
        self.store = LocalStore(folder / "run")
        document = keyword.spec(
            seed_uri="file:///s", evaluation_uri="file:///e", model_uri="file:///m", artifacts_uri="file:///a"
        )
        document["maxIterations"] = 9
        document["errorsFrom"] = errors_from
        document["artifacts"] |= artifacts
        self.spec = AugmentationRunSpec.model_validate(document)
        self.context = StepContext(pod_uid="pod", scratch=folder / "scratch")
        self.outcomes: list[StepResult] = []
        self.step = self._commit(Stage.PREPARE, 0)

    def _commit(self, stage: Stage, iteration: int, **told: Any) -> Step:
        step = Step.of(StepDocument(
            stage=stage, iteration=iteration, namespace="ns", run="r", run_uid="u",
            spec=self.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
            parents=parents(self.spec, StepId(stage, iteration), self.outcomes),
        ))  # fmt: skip
        files: dict[str, bytes | Path] = {
            "rows.json": b"{}",
            "adapter/adapter_model.safetensors": f"{iteration}".encode(),
        }
        report = Report(run_uid="u", stage=stage, iteration=iteration, **told)
        self.outcomes.append(StepResult.of(commit(self.store, step, self.context, files, report)))
        return step

    def iterate(self, score: float) -> None:
        """Train, Evaluate with this accuracy, what follows an evaluation, and Generate."""
        trained = [outcome.step for outcome in self.outcomes if outcome.step.stage is Stage.TRAIN]
        iteration = sum(not step.closing for step in trained)
        self._commit(Stage.TRAIN, iteration)
        metric = Metric(name="accuracy", dataset="evaluation", value=score, examples=100, low=0, high=1)
        drop_weights(self._commit(Stage.EVALUATE, iteration, metrics=(metric,), mistakes=1), self.store)
        self._commit(Stage.GENERATE, iteration)

    def close(self, probing: int) -> None:
        """The closing iteration after so many probing ones."""
        self._commit(Stage.TRAIN, CLOSING + probing)
        metric = Metric(name="accuracy", dataset="evaluation", value=0.1, examples=100, low=0, high=1)
        drop_weights(self._commit(Stage.EVALUATE, CLOSING + probing, metrics=(metric,), mistakes=1), self.store)

    def with_weights(self) -> list[int]:
        found = {i: manifest_in(self.store, step_folder(Stage.TRAIN, i)) for i in (*range(9), *range(100, 109))}
        return [i for i, manifest in found.items() if manifest and has_all_objects(self.store, manifest)]


def test_a_probing_run_keeps_what_it_might_end_with_and_then_what_it_closed_with(tmp_path: Path) -> None:
    run = History(tmp_path, errors_from="Probe", retention="BestAndLast")
    for score in (0.7, 0.5, 0.6):
        run.iterate(score)
    assert run.with_weights() == [0, 2]
    run.close(3)
    assert run.with_weights() == [103]
    run.iterate(0.9)
    assert run.with_weights() == [3, 103]
    run.close(4)
    assert run.with_weights() == [104]


def test_the_best_and_the_last_keep_their_weights(tmp_path: Path) -> None:
    run = History(tmp_path, retention="BestAndLast")
    seen = []
    for score in (0.5, 0.7, 0.6, 0.6, 0.8, 0.7):
        run.iterate(score)
        seen.append(run.with_weights())
    assert seen == [[0], [1], [1, 2], [1, 3], [4], [4, 5]]


def test_everything_else_of_every_iteration_stays(tmp_path: Path) -> None:
    run = History(tmp_path, retention="BestAndLast")
    for score in (0.5, 0.7, 0.6):
        run.iterate(score)
    gone = [key for key in run.store.list("") if "/train/" in key and key.endswith(".safetensors")]
    assert len(gone) == 2
    assert len([key for key in run.store.list("") if key.endswith("rows.json")]) == 1 + 3 * 3
    assert len([key for key in run.store.list("") if key.endswith("manifest.json")]) == 1 + 3 * 3


@pytest.mark.parametrize("artifacts", [{}, {"retention": "All"}])
def test_unless_it_is_asked_for_nothing_goes(tmp_path: Path, artifacts: dict[str, str]) -> None:
    run = History(tmp_path, **artifacts)
    for score in (0.5, 0.7, 0.6):
        run.iterate(score)
    assert run.with_weights() == [0, 1, 2]


def test_a_run_that_reuses_such_a_run_trains_anew_what_has_no_weights(tmp_path: Path) -> None:
    run = History(tmp_path, retention="BestAndLast")
    for score in (0.5, 0.7):
        run.iterate(score)
    spec = run.spec.model_copy(update={"reuse_from": [Reuse(uri=run.store.uri)]})
    taken = []
    for iteration in (0, 1):
        step = Step.of(StepDocument(
            stage=Stage.TRAIN, iteration=iteration, namespace="ns", run="again", run_uid="v",
            spec=spec.model_dump(mode="json", by_alias=True, exclude_none=True),
            parents=parents(spec, StepId(Stage.TRAIN, iteration), run.outcomes),
        ))  # fmt: skip
        report = copy_from_reused_run(
            step,
            LocalStore(tmp_path / "again"),
            StepContext(pod_uid="p", scratch=tmp_path / f"{iteration}"),
            fits=lambda *_: True,
        )
        taken.append(report is not None)
    assert taken == [False, True]
