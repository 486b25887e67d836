"""Writes a run to the MLflow server of `spec.tracking.mlflow`: a derived view, after the step's output is committed.

What it should show says report/tracking.py. Nothing here fails a step: whatever goes wrong becomes one message, and the
next Evaluate or Test writes what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from llm2llm.api.tracking import Mlflow
from llm2llm.plaintext import plain
from llm2llm.report.collect import Contents
from llm2llm.report.mlflow_api import Api, TrackingFailed, open_client
from llm2llm.report.tracking import (
    FoundRun,
    TrackedModel,
    TrackedRun,
    best_model,
    missing,
    tracked_iterations,
    tracked_run,
)
from llm2llm.runtime.context import Step, StepContext


def write_to_mlflow(
    server: Mlflow, step: Step, contents: Contents, context: StepContext, now: Callable[[], float] = time.time
) -> None:
    """Brings the server up to date; if that fails, reports it in one event and raises nothing.

    Args:
        server: the one that the spec names.
        step: whose output has just been committed.
        contents: of the run's store.
        context: of this process, with the keys.
        now: seconds since the epoch, for the start and the end of runs.
    """
    problem = _problem_of_writing(server, step, contents, context, now)
    if problem:
        message = (
            f"MLflow at {server.uri} was not brought up to date: {plain(context.mask(problem))}. The step's result is "
            "not affected; the next Evaluate or Test writes what is missing"
        )
        context.progress({"stage": step.stage.value, "message": message})
    elif server.registered_model and (best := best_model(step, contents)) and not _can_be_registered(best):
        message = (
            f"the adapter is not registered in MLflow as {server.registered_model}, because MLflow takes none from a "
            f"folder of this machine ({best.source}): use artifacts in a bucket, or leave registeredModel out"
        )
        context.progress({"stage": step.stage.value, "message": message})


def _problem_of_writing(
    server: Mlflow, step: Step, contents: Contents, context: StepContext, now: Callable[[], float]
) -> str:
    """Writes, and returns what went wrong; '' if nothing did."""
    try:
        with open_client(server, context.environ) as client:
            _bring_up_to_date(Api(client, server, context), step, contents, now)
    except TrackingFailed as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever a server or a library comes up with, the step's work is done
        return f"{type(error).__name__}: {error}"
    return ""


def _bring_up_to_date(api: Api, step: Step, contents: Contents, now: Callable[[], float]) -> None:
    experiment = api.experiment(api.server.experiment or f"llm2llm/{step.namespace}")
    found = api.runs_by_iteration(experiment, step.run_uid, contents.uri)

    def run_of(wanted: TrackedRun, tags: Mapping[str, str]) -> FoundRun:
        return found.get(wanted.iteration) or api.create_run(experiment, wanted, {**wanted.tags, **tags}, _ms(now()))

    wanted = tracked_run(step, contents)
    parent = run_of(wanted, {})
    children: dict[int, FoundRun] = {}
    for iteration in tracked_iterations(step, contents):
        child = run_of(iteration, {"mlflow.parentRunId": parent.id})
        api.log(child, missing(iteration, child))
        api.set_finished(child, iteration.finished, _ms(now()))
        children[iteration.iteration or 0] = child
    times = {index: child.started for index, child in children.items()}
    api.log(parent, missing(wanted, parent, times))
    api.set_finished(parent, wanted.finished, _ms(now()))  # only a run that is there as a whole is finished
    best = best_model(step, contents)
    if best and api.server.registered_model and _can_be_registered(best):
        api.register(api.server.registered_model, best, children[best.iteration].id)


def _can_be_registered(model: TrackedModel) -> bool:
    return not model.source.startswith("file:")


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
