"""Writes the views of a run from the manifests and predictions in the store; people read them, steps never do.

The views are `best.json`, `report/seeds.jsonl` and `report/index.html` (rule D7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm2llm.artifacts.iterations import CommittedIteration, committed_iterations, step_results
from llm2llm.loop.stopping import best_iteration
from llm2llm.records import Stage, canonical_json
from llm2llm.report.collect import Contents, collect, test_scores
from llm2llm.report.page import render
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import Store

BEST = "best.json"
SEED_HISTORIES = "report/seeds.jsonl"
PAGE = "report/index.html"


def write_views(step: Step, store: Store, context: StepContext) -> Contents | None:
    """Rewrites all views, and returns what they show; None if it cannot be read.

    The step is committed already, so an error in the page is reported and fails nothing.

    Raises:
        StepError: `best.json` could not be written.
    """
    iterations = list(committed_iterations(store))
    _write_best(step, store, iterations)
    contents = None
    try:
        contents = collect(step, store, iterations)
        write_report(contents, render(contents), store)
    except Exception as error:  # noqa: BLE001 - whatever a page or its libraries come upon, the step's work is done
        context.progress({"stage": step.stage.value, "message": f"{store.uri}/{PAGE} could not be rewritten: {error}"})
    return contents


def write_report(contents: Contents, page: bytes, store: Store) -> None:
    """Writes the histories of the seed rows, and the page.

    Raises:
        StepError: the store refused one.
    """
    lines = (canonical_json(seed.document()) + "\n" for seed in contents.seeds)
    store.write(SEED_HISTORIES, "".join(lines).encode())
    store.write(PAGE, page)


def _write_best(step: Step, store: Store, iterations: Sequence[CommittedIteration]) -> None:
    """Writes which iteration is best, by which score, where its adapter is stored, and its test score."""
    best = best_iteration(step.spec, step_results(iterations), ended=step.stage is Stage.TEST)
    if best is not None:
        view: dict[str, Any] = {
            "iteration": best.iteration,
            "metric": best.metric.model_dump(mode="json", by_alias=True),
            "modelUri": best.model_uri,
            "digest": best.digest,
        }
        test = test_scores(best, iterations)
        if test:
            view["test"] = [metric.model_dump(mode="json", by_alias=True) for metric in test]
        store.write(BEST, (canonical_json(view) + "\n").encode())
