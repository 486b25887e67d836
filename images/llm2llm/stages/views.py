"""Derived views: rewritten from the manifests in the store, read by people and never by a step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from llm2llm.api import AugmentationRunSpec
from llm2llm.layout import step_folder
from llm2llm.loop import Outcome, best_iteration
from llm2llm.records import Stage, StepDocument, canonical_json
from llm2llm.stages.commit import manifest_in
from llm2llm.storage import Store

BEST = "best.json"


def write_best(step: StepDocument, store: Store) -> None:
    """Rewrites `best.json`: which iteration is best, by which number, where its adapter lies, and its test score."""
    spec = AugmentationRunSpec.model_validate(step.spec)
    best = best_iteration(spec, list(_outcomes(store)))
    if best is not None:
        view: dict[str, Any] = {
            "iteration": best.iteration,
            "metric": best.metric.model_dump(mode="json", by_alias=True),
            "modelUri": best.model_uri,
            "digest": best.digest,
        }
        tested = manifest_in(store, step_folder(Stage.TEST, best.iteration))
        if tested is not None:
            view["test"] = [metric.model_dump(mode="json", by_alias=True) for metric in tested.report.metrics]
        store.write(BEST, (canonical_json(view) + "\n").encode())


def _outcomes(store: Store) -> Iterator[Outcome]:
    """What is committed, iteration by iteration, until there is no more."""
    for iteration in itertools.count():
        for stage in (Stage.TRAIN, Stage.EVALUATE):
            manifest = manifest_in(store, step_folder(stage, iteration))
            if manifest is None:
                return
            yield Outcome.of(manifest.report)
