"""Deletes weights that no one will load again (`artifacts.retention: BestAndLast`); results stay.

Manifests, predictions, rows and scores of every iteration are kept, so a run can be read, judged and continued. A run
that copies such a run (`reuseFrom`) trains the iterations without weights again.
"""

from __future__ import annotations

from contextlib import suppress

from llm2llm.artifacts.committed import manifest_in
from llm2llm.artifacts.iterations import step_results_in
from llm2llm.errors import StepError
from llm2llm.loop.stages import step_folder
from llm2llm.loop.stopping import best_iteration
from llm2llm.records import Manifest, Stage
from llm2llm.runtime.context import Step
from llm2llm.storage import Store

WEIGHTS = ".safetensors"


def drop_weights(step: Step, store: Store) -> None:
    """Deletes, after an evaluation, the weights of iterations that are neither the best so far nor the current one.

    Only two can have become obsolete: the previous one, and the one that was best until now (of a probing run: the one
    that it would have ended with). An error here does not fail the step: the evaluation is committed, and weights that
    stay only take up space.
    """
    spec = step.spec
    if step.stage is not Stage.EVALUATE or spec.artifacts.retention != "BestAndLast":
        return
    with suppress(StepError):
        outcomes = [outcome for outcome in step_results_in(store) if outcome.step.iteration <= step.iteration]
        earlier = [outcome for outcome in outcomes if outcome.step.iteration < step.iteration]
        best, before = (best_iteration(spec, results, ended=True) for results in (outcomes, earlier))
        newest = max((outcome.step.iteration for outcome in earlier if not outcome.step.closing), default=-1)
        candidates = {newest, before.iteration if before else -1}
        for iteration in candidates - {-1, step.iteration, best.iteration if best else -1}:
            trained = manifest_in(store, step_folder(Stage.TRAIN, iteration))
            for key in weights_of(trained) if trained else ():
                store.delete(key)


def weights_of(trained: Manifest) -> list[str]:
    """Returns the keys of the weights in a training step's output."""
    return [entry.key for entry in trained.objects if entry.name.endswith(WEIGHTS)]


def has_all_objects(store: Store, manifest: Manifest) -> bool:
    """Returns whether a step's output is complete: one whose weights were deleted cannot be copied."""
    return all(key in set(store.list(key)) for key in weights_of(manifest))
