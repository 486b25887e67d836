"""Runs of the keyword task that are small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import keyword

from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.records import Prediction, Stage, predictions_from_jsonl
from llm2llm.runtime.context import StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore, Store

STEPS = {"hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 2}, "minSteps": 1}
"""40 rows in batches of 16, twice: five optimizer steps."""


class Bench:
    """Runs of the keyword task over one student, each in a store of its own."""

    def __init__(self, folder: Path, student: Path) -> None:
        self.folder = folder
        self.student = student
        (folder / "seed.jsonl").write_bytes(keyword.jsonl(keyword.rows(2, 1)))
        (folder / "evaluation.jsonl").write_bytes(keyword.jsonl(keyword.rows(1, 5)))

    def document(self, artifacts_uri: str = "file:///artifacts", **changes: Any) -> dict[str, Any]:
        """A spec over the bench's files; `changes` are top-level fields."""
        return keyword.spec(
            seed_uri=(self.folder / "seed.jsonl").as_uri(),
            evaluation_uri=(self.folder / "evaluation.jsonl").as_uri(),
            model_uri=self.student.as_uri(),
            artifacts_uri=artifacts_uri,
            **({"train": {**keyword.TRAIN, **STEPS}} | changes),
        )

    def uploaded(self, bucket: Store, endpoint: str) -> dict[str, Any]:
        """Puts student and rows into a bucket; the fields of a spec that has those and its artifacts there."""
        for folder, paths in (("student", self.student.iterdir()), ("rows", self.folder.glob("*.jsonl"))):
            for path in paths:
                bucket.upload(f"{folder}/{path.name}", path)
        return {
            "artifacts": {"uri": f"{bucket.uri}/runs", "key": "run", "endpoint": endpoint, "pathStyle": True},
            "student__model__uri": f"{bucket.uri}/student",
            "data__seed__uri": f"{bucket.uri}/rows/seed.jsonl",
            "data__evaluation__uri": f"{bucket.uri}/rows/evaluation.jsonl",
        }

    def run(self, name: str, **changes: Any) -> tuple[keyword.Run, LocalStore]:
        """A run that is prepared."""
        run = keyword.Run(self.document(**changes))
        store = LocalStore(self.folder / name)
        run.add(run_step(run.step(Stage.PREPARE), store, self.context()))
        return run, store

    def context(self, pod_uid: str = "pod-1", **more: Any) -> StepContext:
        return StepContext(pod_uid=pod_uid, scratch=self.folder / "scratch" / pod_uid, progress=lambda _: None, **more)


def learned(bench: Bench) -> tuple[keyword.Run, LocalStore]:
    """A run whose student has learned enough of 40 rows to be right and wrong."""
    train = {**keyword.TRAIN, "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 20}}
    run, store = bench.run("run", train=train)
    run.add(run_step(run.step(Stage.TRAIN), store, bench.context()))
    return run, store


def predictions(store: Store, run: keyword.Run, name: str) -> list[Prediction]:
    manifest = committed_manifest(store, run.step(Stage.EVALUATE))
    assert manifest is not None
    return list(predictions_from_jsonl(read_object(store, manifest, f"predictions.{name}.jsonl")))
