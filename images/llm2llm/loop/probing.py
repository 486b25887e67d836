"""PURE: chooses the folds of `errorsFrom: Probe`, which finds mistakes among seed rows that were not trained on."""

from __future__ import annotations

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId
from llm2llm.records import Stage

FOLDS = 4
"""Parts of the seed set under `errorsFrom: Probe`: iteration i does not train on part i mod FOLDS, and answers it."""


def fold_of(spec: AugmentationRunSpec, iteration: int) -> int | None:
    """Returns the fold of the seed set that an iteration does not train on and answers; None if there is none."""
    probes = spec.errors_from == "Probe" and not StepId(Stage.TRAIN, iteration).closing
    return iteration % FOLDS if probes else None
