"""PURE: says what a tracking server should show of a run, and which of that it lacks.

A run is a parent with a child for each iteration. A server's runs are found by the tags RUN_UID, ARTIFACTS and
ITERATION, and only what differs is sent. So a step that is retried, and one after an outage, leave what one without
them leaves. MLflow keeps one point for equal metric, step, time and value, so a point's time is when its run began on
the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from llm2llm import __version__
from llm2llm.budget import SECONDS_PER_HOUR, Spent, cost
from llm2llm.loop.stopping import Finished
from llm2llm.records import Report, Usage
from llm2llm.report.collect import Contents, Iteration
from llm2llm.report.summary import usage, verdict
from llm2llm.report.views import PAGE
from llm2llm.runtime.context import Step

RUN_UID = "llm2llm.run_uid"
ARTIFACTS = "llm2llm.artifacts"
ITERATION = "llm2llm.iteration"
_PARAMETER_LIMIT = 500
_TAG_LIMIT = 5000
"""Characters of a value that every MLflow 2 and 3 takes."""


@dataclass(frozen=True)
class Point:
    """A value of a metric; `step` is an iteration, or an optimizer step for the loss of a training."""

    metric: str
    step: int
    value: float


@dataclass(frozen=True)
class TrackedRun:
    """What a server should show of a run (`iteration` is None) or of one of its iterations.

    Attributes:
        points: of one metric after the other, each with its steps in order.
    """

    name: str
    iteration: int | None
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    points: Sequence[Point]
    finished: bool


@dataclass(frozen=True)
class TrackedModel:
    """The best adapter so far, for a registry of models."""

    iteration: int
    source: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class FoundRun:
    """A run as a server has it. Times are in milliseconds.

    Attributes:
        latest: metric to its newest point, and that point's time.
    """

    id: str
    started: int
    finished: bool
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    latest: Mapping[str, tuple[Point, int]] = field(default_factory=dict)


def tracked_run(step: Step, contents: Contents) -> TrackedRun:
    """Returns the parent: the run's parameters, and its scores by iteration."""
    return TrackedRun(
        name=contents.run,
        iteration=None,
        tags=_cut(_run_tags(step, contents), _TAG_LIMIT),
        parameters=_cut(_parameters(contents), _PARAMETER_LIMIT),
        points=_sorted([*_scores_by_iteration(contents), *_totals(contents)]),
        finished=isinstance(contents.state, Finished),
    )


def tracked_iterations(step: Step, contents: Contents) -> list[TrackedRun]:
    """Returns the children, one for each iteration that has been trained."""
    return [
        TrackedRun(
            name=f"{contents.run} {iteration.name}",
            iteration=iteration.index,
            tags=_cut({**_identity(step, contents), **_iteration_tags(iteration)}, _TAG_LIMIT),
            parameters={"iteration": iteration.name},
            points=_sorted(_iteration_points(iteration, contents)),
            finished=iteration.evaluate is not None,
        )
        for iteration in contents.iterations
    ]


def best_model(step: Step, contents: Contents) -> TrackedModel | None:
    """Returns the best adapter so far; None before there is one."""
    best = contents.best
    if best is None or not best.model_uri:
        return None
    tags = {**_identity(step, contents), ITERATION: str(best.iteration), "llm2llm.digest": best.digest}
    return TrackedModel(best.iteration, best.model_uri, _cut(tags, _TAG_LIMIT))


def missing(wanted: TrackedRun, found: FoundRun, times: Mapping[int, int] | None = None) -> dict[str, Any]:
    """Returns what a server's run lacks, as the body of MLflow's `runs/log-batch` without the run's id; {} if nothing.

    A parameter that is there stays: MLflow refuses another value.

    Args:
        wanted: what it should show.
        found: what it shows.
        times: step to the time of its points; where there is none, it is the run's own start.
    """
    lacking = {
        "tags": [{"key": key, "value": value} for key, value in wanted.tags.items() if found.tags.get(key) != value],
        "params": [
            {"key": key, "value": value} for key, value in wanted.parameters.items() if key not in found.parameters
        ],
        "metrics": [
            {"key": point.metric, "value": point.value, "step": point.step, "timestamp": time}
            for metric, points in groupby(wanted.points, lambda point: point.metric)
            for point, time in _missing_points(list(points), found.latest.get(metric), times or {}, found.started)
        ],
    }
    return {name: entries for name, entries in lacking.items() if entries}


def _missing_points(
    points: Sequence[Point], latest: tuple[Point, int] | None, times: Mapping[int, int], started: int
) -> Iterator[tuple[Point, int]]:
    """Yields the points of a metric that a server lacks, each with its time.

    Of two values at one step, MLflow shows the later one. So a value that has changed is sent a millisecond later.
    """
    if latest is None or latest[0].step != points[-1].step:
        yield from ((point, times.get(point.step, started)) for point in points)
    elif latest[0].value != points[-1].value:
        yield points[-1], latest[1] + 1


def _identity(step: Step, contents: Contents) -> dict[str, str]:
    """Returns the tags that a run and its iterations are found by: two runs of one name have other artifacts."""
    return {RUN_UID: step.run_uid, ARTIFACTS: contents.uri}


def _run_tags(step: Step, contents: Contents) -> dict[str, str]:
    resolved = contents.inputs.resolved if contents.inputs else None
    tags = {
        **_identity(step, contents),
        "llm2llm.version": __version__,
        "llm2llm.inputs_digest": contents.inputs.digest if contents.inputs else "",
        "llm2llm.engine": resolved.engine if resolved else "",
        "llm2llm.max_iterations": str(contents.spec.max_iterations),
        "llm2llm.report": f"{contents.uri}/{PAGE}",
        "llm2llm.verdict": verdict(contents),
        "mlflow.source.name": "llm2llm",
    }
    if isinstance(contents.state, Finished):
        tags["llm2llm.ended"] = f"{contents.state.reason}: {contents.state.message}"
    if contents.best:
        tags |= {
            "llm2llm.best_iteration": str(contents.best.iteration),
            "llm2llm.best_model_uri": contents.best.model_uri,
            "llm2llm.best_digest": contents.best.digest,
        }
    return tags


def _iteration_tags(iteration: Iteration) -> dict[str, str]:
    return {
        ITERATION: str(iteration.index),
        "llm2llm.model_uri": iteration.train.model_uri,
        "llm2llm.digest": iteration.train.digest,
        "mlflow.source.name": "llm2llm",
    }


def _parameters(contents: Contents) -> dict[str, str]:
    """Returns what defines the experiment, under the names of the spec."""
    spec = contents.spec
    train, hyperparameters = spec.train, spec.train.hyperparameters
    resolved = contents.inputs.resolved if contents.inputs else None
    values: dict[str, object] = {
        "student": spec.student.model.uri,
        "student.revision": resolved.model_revision if resolved else "",
        "task.preset": spec.task.preset,
        "rows.seed": resolved.seed_count if resolved else "",
        "rows.evaluation": resolved.evaluation_count if resolved else "",
        "rows.test": resolved.test_count if resolved else "",
        "randomSeed": spec.random_seed,
        "startFrom": spec.start_from,
        "augmentFrom": spec.augment_from,
        "errorsFrom": spec.errors_from,
        "train.method": train.method,
        "train.minSteps": train.min_steps,
        "train.learningRate": hyperparameters.learning_rate,
        "train.numTrainEpochs": hyperparameters.num_train_epochs,
        "train.effectiveBatchSize": hyperparameters.effective_batch_size,
        "train.lora.r": "" if train.method == "Full" else train.lora.r,
        "teacher": spec.generate.teacher.model,
        "strategy": spec.generate.strategy,
        "examplesPerMistake": spec.generate.examples_per_mistake,
        "rowsPerRound": spec.generate.rows_per_round,
    }
    return {name: str(value) for name, value in values.items()}


def _scores_by_iteration(contents: Contents) -> Iterator[Point]:
    for iteration in contents.iterations:
        yield from _results(iteration)


def _results(iteration: Iteration) -> Iterator[Point]:
    """Yields what parent and child both show: the score of the objective with its interval, mistakes, and rows."""
    values: dict[str, float] = {"train_rows": iteration.train.train_examples}
    if iteration.judged:
        score = iteration.judged
        values |= {"score": score.value, "score_low": score.low, "score_high": score.high}
    if iteration.evaluate:
        values["mistakes"] = iteration.evaluate.mistakes
    if iteration.generate:
        values |= {"kept_rows": iteration.generate.kept, "rejected_rows": len(iteration.rejected)}
    yield from _points(values, iteration.index)


def _totals(contents: Contents) -> Iterator[Point]:
    """Yields what the run has spent until its newest iteration, and the best student's scores on the test set."""
    if not contents.iterations:
        return
    spent = Spent(usage(contents.iterations), contents.gpu_seconds)
    values = _usage(spent.usage) | {"gpu_hours": spent.gpu_seconds / SECONDS_PER_HOUR}
    if contents.spec.budget.prices:
        values["cost"] = float(cost(spent, contents.spec.budget.prices))
    yield from _points(values, contents.iterations[-1].index)
    if contents.best:
        yield from _points({f"test/{each.name}": each.value for each in contents.test}, contents.best.iteration)


def _iteration_points(iteration: Iteration, contents: Contents) -> Iterator[Point]:
    yield from _results(iteration)
    yield from (Point("train_loss", step, loss) for step, loss in iteration.losses)
    values: dict[str, float] = {"optimizer_steps": iteration.train.optimizer_steps}
    if iteration.evaluate:
        values |= _metrics(iteration.evaluate)
        values |= {"learned": iteration.evaluate.learned, "forgotten": iteration.evaluate.forgotten}
    if iteration.generate:
        values |= _usage(iteration.generate.usage)
        if contents.spec.budget.prices:
            values["cost_of_teacher"] = float(cost(Spent(iteration.generate.usage), contents.spec.budget.prices))
    if contents.best and contents.best.iteration == iteration.index:
        values |= {f"test/{each.name}": each.value for each in contents.test}
    yield from _points(values, iteration.index)


def _metrics(report: Report) -> dict[str, float]:
    return {f"{each.dataset}/{each.name}": each.value for each in report.metrics}


def _usage(spent: Usage) -> dict[str, float]:
    return {
        "teacher_requests": spent.teacher_requests,
        "teacher_input_tokens": spent.teacher_input_tokens,
        "teacher_output_tokens": spent.teacher_output_tokens,
    }


def _points(values: Mapping[str, float], step: int) -> Iterator[Point]:
    return (Point(metric, step, float(value)) for metric, value in values.items())


def _sorted(points: Iterable[Point]) -> list[Point]:
    return sorted(points, key=lambda point: (point.metric, point.step))


def _cut(values: Mapping[str, str], limit: int) -> dict[str, str]:
    """Returns the values that are not empty, each within what the server takes."""
    return {name: value[:limit] for name, value in values.items() if value}
