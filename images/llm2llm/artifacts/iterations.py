"""Reads the iterations in a run's store from their manifests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llm2llm.artifacts.committed import manifest_in
from llm2llm.layout import manifest_key
from llm2llm.loop.outcomes import StepResult
from llm2llm.loop.stages import step_folder
from llm2llm.records import Manifest, Stage
from llm2llm.storage import Store

ITERATIONS = "iterations/"


@dataclass(frozen=True)
class CommittedIteration:
    """The manifests of an iteration in the store."""

    index: int
    train: Manifest
    evaluate: Manifest | None
    generate: Manifest | None
    test: Manifest | None


def step_results_in(store: Store) -> list[StepResult]:
    """Returns training and evaluation of each iteration that has committed both."""
    return step_results(list(committed_iterations(store)))


def step_results(iterations: Sequence[CommittedIteration]) -> list[StepResult]:
    """Returns training and evaluation of each iteration that has both."""
    return [
        StepResult.of(manifest.report)
        for iteration in iterations
        if iteration.evaluate is not None
        for manifest in (iteration.train, iteration.evaluate)
    ]


def committed_iterations(store: Store) -> Iterator[CommittedIteration]:
    """Yields the committed iterations in order, closing ones last."""
    present = {key for key in store.list(ITERATIONS) if manifest_key(key.rpartition("/")[0]) == key}

    def manifest(stage: Stage, index: int) -> Manifest | None:
        folder = step_folder(stage, index)
        return manifest_in(store, folder) if manifest_key(folder) in present else None

    folders = {key.split("/")[1] for key in present}
    for index in sorted(int(folder) for folder in folders if folder.isdecimal()):
        train = manifest(Stage.TRAIN, index)
        if train is not None:
            other_manifests = (manifest(stage, index) for stage in (Stage.EVALUATE, Stage.GENERATE, Stage.TEST))
            yield CommittedIteration(index, train, *other_manifests)
