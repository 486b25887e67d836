"""Writes the views of a run from the manifests and predictions in the store; people read them, steps never do.

The views are `best.json`, `report/seeds.jsonl` and `report/index.html` (rule D7).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jinja2

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in, read_object
from llm2llm.artifacts.iterations import CommittedIteration, committed_iterations, step_results
from llm2llm.data.rows import PROBED, SEED, SEEDS, SYNTHETIC, predictions_in, read_examples
from llm2llm.errors import StepError
from llm2llm.loop.outcomes import iteration_label
from llm2llm.loop.stages import INPUTS
from llm2llm.loop.stopping import Best, best_iteration, objective_metric, objective_name
from llm2llm.records import Manifest, Metric, Stage, canonical_json
from llm2llm.report import page
from llm2llm.report.history import SeedHistory, histories
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import Store

BEST = "best.json"
SEED_HISTORIES = "report/seeds.jsonl"
PAGE = "report/index.html"


def write_views(step: Step, store: Store, context: StepContext) -> None:
    """Rewrites all views. The step is committed already, so an error in the page is reported and fails nothing.

    Raises:
        StepError: `best.json` could not be written.
    """
    iterations = list(committed_iterations(store))
    _write_best(step, store, iterations)
    try:
        _write_report(step, store, iterations)
    except (StepError, ValueError, LookupError, jinja2.TemplateError) as error:
        context.progress({"stage": step.stage.value, "message": f"{store.uri}/{PAGE} could not be rewritten: {error}"})


def _write_best(step: Step, store: Store, iterations: Sequence[CommittedIteration]) -> None:
    """Writes which iteration is best, by which score, where its adapter is stored, and its test score."""
    best = _best(step, iterations)
    if best is not None:
        view: dict[str, Any] = {
            "iteration": best.iteration,
            "metric": best.metric.model_dump(mode="json", by_alias=True),
            "modelUri": best.model_uri,
            "digest": best.digest,
        }
        test = _test_of(best.iteration, iterations)
        if test:
            view["test"] = [metric.model_dump(mode="json", by_alias=True) for metric in test]
        store.write(BEST, (canonical_json(view) + "\n").encode())


def _best(step: Step, iterations: Sequence[CommittedIteration]) -> Best | None:
    """Returns the best iteration; if the step is Test, the run has ended."""
    return best_iteration(step.spec, step_results(iterations), ended=step.stage is Stage.TEST)


def _write_report(step: Step, store: Store, iterations: Sequence[CommittedIteration]) -> None:
    inputs = manifest_in(store, INPUTS)
    evaluated = {iteration.index: iteration.evaluate for iteration in iterations if iteration.evaluate}
    answers = {
        index: [*predictions_in(store, manifest, SEEDS), *predictions_in(store, manifest, PROBED)]
        for index, manifest in evaluated.items()
    }
    seeds = histories(read_examples(store, inputs, SEED) if inputs else [], answers)
    lines = (canonical_json(seed.document()) + "\n" for seed in seeds)
    store.write(SEED_HISTORIES, "".join(lines).encode())
    best = _best(step, iterations)
    shown = page.Page(
        run=f"{step.namespace}/{step.run}",
        uri=store.uri,
        rows=_rows(step.spec, store, iterations, seeds, best.iteration if best else None),
        test=_test_of(best.iteration, iterations) if best else (),
        suspects=sorted((seed for seed in seeds if seed.suspect), key=lambda seed: -len(seed.wrong)),
    )
    store.write(PAGE, page.render(shown))


def _rows(
    spec: AugmentationRunSpec,
    store: Store,
    iterations: Sequence[CommittedIteration],
    seeds: Sequence[SeedHistory],
    best: int | None,
) -> list[page.IterationRow]:
    evaluations = [outcome for outcome in step_results(iterations) if outcome.step.stage is Stage.EVALUATE]
    name = objective_name(spec, evaluations)
    judged = {outcome.step.iteration: objective_metric(outcome, name) for outcome in evaluations}
    learned = Counter(index for seed in seeds for index in seed.learned)
    forgotten = Counter(index for seed in seeds for index in seed.forgotten)
    rows = []
    for iteration in iterations:
        row = page.IterationRow(
            name=iteration_label(iteration.index),
            train=iteration.train.report,
            evaluate=iteration.evaluate.report if iteration.evaluate else None,
            judged=judged.get(iteration.index),
            learned=learned[iteration.index],
            forgotten=forgotten[iteration.index],
            best=iteration.index == best,
        )
        rows.append(_with_round(row, store, iteration.generate) if iteration.generate else row)
    return rows


def _with_round(row: page.IterationRow, store: Store, generated: Manifest) -> page.IterationRow:
    lines = read_object(store, generated, "rejected.jsonl").splitlines()
    return replace(
        row,
        generate=generated.report,
        rejected=dict(Counter(str(json.loads(line)["reason"]) for line in lines).most_common()),
        samples=read_examples(store, generated, SYNTHETIC)[: page.ROWS_SHOWN],
    )


def _test_of(iteration: int, iterations: Sequence[CommittedIteration]) -> tuple[Metric, ...]:
    return next((other.test.report.metrics for other in iterations if other.index == iteration and other.test), ())
