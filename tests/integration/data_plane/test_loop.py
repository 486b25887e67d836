"""The loop through its real stages, the teacher over HTTP: what each variant trains on, asks and writes for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.integration.generation import rounds
from tests.support import keyword

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in, read_object
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.loop.steps import next_step, parents
from llm2llm.loop.stopping import Finished
from llm2llm.records import Example, Prediction, Record, Report, Stage, StepDocument
from llm2llm.runtime.context import Step
from llm2llm.step import run_step
from llm2llm.storage import LocalStore

R = TypeVar("R", bound=Record)
SEEDS = 80
"""Every third row of the example's seed set: little enough that a student gets some of them wrong."""


@dataclass
class Loop:
    """A run of the keyword example in this process."""

    spec: dict[str, Any]
    folder: Path
    reports: dict[StepId, Report] = field(default_factory=dict)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder / "run")

    def complete(self) -> Finished:
        """Runs what the loop asks for until it is over."""
        spec = AugmentationRunSpec.model_validate(self.spec)
        while True:
            outcomes = [StepResult.of(report) for report in self.reports.values()]
            step = next_step(spec, outcomes)
            if isinstance(step, Finished):
                return step
            context = rounds.context_for("pod", self.folder / "scratch")
            self.reports[step] = run_step(self.document(step), self.store, context)

    def document(self, step: StepId) -> Step:
        """The step as the loop gives it to a pod, now or after the run's end."""
        spec = AugmentationRunSpec.model_validate(self.spec)
        outcomes = [StepResult.of(report) for report in self.reports.values()]
        return Step.of(
            StepDocument(
                stage=step.stage,
                iteration=step.iteration,
                namespace="default",
                run="keyword",
                run_uid="uid",
                spec=self.spec,
                parents=parents(spec, step, outcomes),
            )
        )

    def read(self, stage: Stage, iteration: int, name: str, kind: type[R]) -> list[R]:
        """Rows of an output; none where the step has no such output."""
        manifest = manifest_in(self.store, step_folder(stage, iteration))
        assert manifest is not None
        if all(entry.name != name for entry in manifest.objects):
            return []
        return [kind.model_validate_json(line) for line in read_object(self.store, manifest, name).splitlines()]

    def wrong(self, iteration: int, dataset: str) -> set[str]:
        told = self.read(Stage.EVALUATE, iteration, f"predictions.{dataset}.jsonl", Prediction)
        return {prediction.id for prediction in told if not prediction.correct}

    def asked(self, iteration: int, dataset: str) -> set[str]:
        return {told.id for told in self.read(Stage.EVALUATE, iteration, f"predictions.{dataset}.jsonl", Prediction)}

    def written(self, iteration: int) -> list[Example]:
        return self.read(Stage.GENERATE, iteration, "synthetic.jsonl", Example)

    @property
    def seeds(self) -> list[Example]:
        manifest = manifest_in(self.store, INPUTS)
        assert manifest is not None
        return [
            Example.model_validate_json(line) for line in read_object(self.store, manifest, "seed.jsonl").splitlines()
        ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = keyword.make_example(tmp_path_factory.mktemp("data"))
    for name, step in (("seed", 240 // SEEDS), ("evaluation", 20)):
        lines = (folder / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[::step]))
    return folder


@pytest.fixture(scope="module")
def teacher() -> Iterator[rounds.Teacher]:
    with rounds.Teacher() as server:
        yield server


def loop(data: Path, teacher: rounds.Teacher, folder: Path, **changes: Any) -> Loop:
    """A run over the small sets; `changes` are top-level fields."""
    import torch

    torch.set_num_threads(1)
    spec = rounds.spec_for(teacher, samples=2)
    spec["data"] = {name: {**spec["data"][name], "uri": (data / f"{name}.jsonl").as_uri()} for name in spec["data"]}
    spec["student"] = {"model": {"uri": (data / "model").as_uri()}}
    spec["artifacts"] = {"uri": folder.as_uri()}
    spec["train"]["hyperparameters"]["numTrainEpochs"] = 6
    return Loop(spec | {"maxIterations": 3} | changes, folder)


@pytest.fixture(scope="module")
def plain(data: Path, teacher: rounds.Teacher, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """Three iterations as the paper has them."""
    run = loop(data, teacher, tmp_path_factory.mktemp("plain"))
    assert run.complete().reason == "MaxIterationsReached"
    return run


def test_an_evaluation_tells_row_by_row_what_changed(plain: Loop) -> None:
    before, now = plain.wrong(1, "seed"), plain.wrong(2, "seed")
    first, last = plain.wrong(0, "evaluation"), plain.wrong(2, "evaluation")
    report = plain.reports[StepId(Stage.EVALUATE, 2)]
    manifest = manifest_in(plain.store, step_folder(Stage.EVALUATE, 2))
    assert manifest is not None
    changes = json.loads(read_object(plain.store, manifest, "changes.json"))

    assert plain.reports[StepId(Stage.EVALUATE, 0)].paired is None
    assert (report.learned, report.forgotten) == (len(before - now), len(now - before))
    assert (set(changes["learnt"]), set(changes["forgotten"])) == (before - now, now - before)
    assert report.paired is not None
    beaten = first if report.paired.against == 0 else plain.wrong(1, "evaluation")
    assert report.paired.dataset == "evaluation"
    assert (report.paired.gained, report.paired.lost) == (len(beaten - last), len(last - beaten))
    assert report.paired.examples == 100


def test_the_report_tells_what_the_predictions_say_and_comes_back_when_a_step_is_run_again(plain: Loop) -> None:
    wrong = [plain.wrong(iteration, "seed") for iteration in range(3)]
    seeds = [json.loads(line) for line in plain.store.read("report/seeds.jsonl").splitlines()]
    html = plain.store.read("report/index.html").decode()

    assert [seed["id"] for seed in seeds] == [seed.id for seed in plain.seeds]
    assert {seed["id"] for seed in seeds if 1 in seed["learnt"]} == wrong[0] - wrong[1]
    assert {seed["id"] for seed in seeds if 2 in seed["forgotten"]} == wrong[2] - wrong[1]
    assert {seed["id"] for seed in seeds if seed["suspect"]} == wrong[0] & wrong[1] & wrong[2]
    assert any(seed["suspect"] and len(seed["answers"]) == 3 for seed in seeds)
    assert plain.written(1)[0].id in html
    plain.store.delete("report/index.html")
    step = plain.document(StepId(Stage.GENERATE, 0))
    run_step(step, plain.store, rounds.context_for("again", plain.folder / "scratch"))
    assert plain.store.read("report/index.html").decode() == html


def test_a_report_that_cannot_be_made_fails_no_step(plain: Loop, tmp_path: Path) -> None:
    shutil.copytree(plain.folder / "run", tmp_path / "run")
    damaged = Loop(plain.spec, tmp_path, plain.reports)
    manifest = manifest_in(damaged.store, step_folder(Stage.EVALUATE, 0))
    assert manifest is not None
    damaged.store.write(manifest.object_named("predictions.seed.jsonl").key, b"nonsense")
    told: list[str] = []
    context = rounds.context_for("again", tmp_path / "scratch")
    context.progress = lambda event: told.append(str(event.get("message", "")))
    report = run_step(damaged.document(StepId(Stage.EVALUATE, 2)), damaged.store, context)

    assert report.exit_code == 0
    assert any("report/index.html could not be rewritten" in words and "is damaged" in words for words in told)


def test_mistakes_among_synthetic_rows_are_written_for_too_and_keep_their_root(
    data: Path, teacher: rounds.Teacher, tmp_path: Path
) -> None:
    run = loop(data, teacher, tmp_path, augmentFrom="SeedAndSynthetic")
    assert run.complete().reason == "MaxIterationsReached"
    seeds, synthetic = run.wrong(1, "seed"), run.wrong(1, "synthetic")
    report = run.reports[StepId(Stage.EVALUATE, 1)]
    rows = run.written(1)
    parent_of = {row.id: row.lineage.parent for row in rows if row.lineage}
    known = {row.id: row for row in [*run.seeds, *run.written(0)]}

    assert seeds
    assert synthetic
    assert synthetic <= {row.id for row in run.written(0)}
    assert report.mistakes == len(seeds) + len(synthetic)
    assert [m.examples for m in report.metrics if m.dataset == "synthetic"] == [len(run.written(0))] * 2
    assert f"{len(synthetic)} of {len(run.written(0))} synthetic rows are wrong" in report.message
    assert run.reports[StepId(Stage.GENERATE, 1)].generated >= 2 * report.mistakes
    assert set(parent_of.values()) <= seeds | synthetic
    assert set(parent_of.values()) & synthetic
    assert all(row.root == known[parent_of[row.id]].root for row in rows)
    assert {row.root for row in rows} <= {seed.id for seed in run.seeds}
    assert run.reports[StepId(Stage.TRAIN, 2)].train_examples == SEEDS + len(run.written(0)) + len(rows)


def test_probing_iterations_leave_out_a_fold_and_what_was_written_from_it(
    data: Path, teacher: rounds.Teacher, tmp_path: Path
) -> None:
    run = loop(data, teacher, tmp_path, errorsFrom="Probe", augmentFrom="SeedAndSynthetic")
    finished = run.complete()
    asked = [run.asked(iteration, "probe") for iteration in range(3)]
    written = [row for iteration in range(2) for row in run.written(iteration)]
    best = json.loads(run.store.read("best.json"))
    closing = run.reports[StepId(Stage.EVALUATE, 103)]

    assert finished.message == "all 3 probing iterations are done"
    assert [len(fold) for fold in asked] == [SEEDS // 4] * 3
    assert not asked[0] & asked[1]
    assert not asked[1] & asked[2]
    for iteration in range(3):
        known = written[: sum(len(run.written(earlier)) for earlier in range(iteration))]
        trained = SEEDS * 3 // 4 + sum(row.root not in asked[iteration] for row in known)
        assert run.reports[StepId(Stage.TRAIN, iteration)].train_examples == trained
        assert run.asked(iteration, "synthetic") == {row.id for row in known if row.root in asked[iteration]}
    assert {row.root for row in run.written(1)} <= asked[1]
    assert run.reports[StepId(Stage.TRAIN, 103)].train_examples == SEEDS + len(written)
    assert [(m.dataset, m.examples) for m in closing.metrics if m.name == "accuracy"] == [
        ("seed", SEEDS),
        ("evaluation", 100),
    ]
    assert (best["iteration"], best["metric"]["dataset"]) == (103, "evaluation")
    assert StepId(Stage.GENERATE, 103) not in run.reports
    assert 'closing (after 3) <span class="badge">best<' in run.store.read("report/index.html").decode()
