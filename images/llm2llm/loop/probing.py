"""PURE: the folds of `errorsFrom: Probe`, which look for mistakes among seed rows that were not trained on."""

from __future__ import annotations

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId
from llm2llm.records import Stage

FOLDS = 4
"""Parts of the seed set under `errorsFrom: Probe`: iteration i leaves out part i mod FOLDS, and is asked it."""


def fold_of(spec: AugmentationRunSpec, iteration: int) -> int | None:
    """The part of the seed set that an iteration leaves out of training and is asked; None where it leaves out none."""
    probes = spec.errors_from == "Probe" and not StepId(Stage.TRAIN, iteration).closing
    return iteration % FOLDS if probes else None
