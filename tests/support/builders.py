"""Small builders for tests: a run, its Jobs, pods and reports; what a test does not speak of is filled in."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.records import Metric, Paired, Report, Resolved, Stage
from llm2llm_operator.model.observation import Job, Pod
from llm2llm_operator.model.run import Run

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
UID = "3b7d0c1e-0000-4000-8000-000000000001"
_versions = itertools.count(100)


def spec(**changes: Any) -> dict[str, Any]:
    """A spec that is valid and small; `changes` replace its top-level fields."""
    document: dict[str, Any] = {
        "maxIterations": 2,
        "task": {"promptTemplate": "{{ prompt }}", "grader": {"type": "ExactMatch"}},
        "data": {"seed": {"uri": "s3://b/seed.jsonl"}, "evaluation": {"uri": "s3://b/evaluation.jsonl"}},
        "student": {"model": {"uri": "s3://b/model"}},
        "artifacts": {"uri": "s3://b/runs"},
        "generate": {"teacher": {"model": "t", "baseUrl": "http://teacher/v1"}},
    }
    return document | changes


def run(status: dict[str, Any] | None = None, *, name: str = "r", deleting: bool = False, **changes: Any) -> Run:
    """A run of generation 1."""
    return Run(
        namespace="ns",
        name=name,
        uid=UID,
        version=next(_versions),
        generation=1,
        deleting=deleting,
        spec=spec(**changes),
        status=status or {},
    )


def job(name: str, *, state: str = "running", owner: str = UID, **changes: Any) -> Job:
    """A Job: running, suspended, complete or failed."""
    values: dict[str, Any] = {
        "namespace": "ns",
        "name": name,
        "uid": f"uid-of-{name}",
        "version": next(_versions),
        "run": "r",
        "run_uid": UID,
        "owner_uid": owner,
        "suspended": state == "suspended",
        "complete": state == "complete",
        "failed": state == "failed",
    }
    return Job(**(values | changes))


def pod(of: Job, *, exit_code: int | None = None, message: str = "", running: bool = False, **changes: Any) -> Pod:
    """A pod of a Job: waiting, running, or ended with an exit code."""
    ended = exit_code is not None
    values: dict[str, Any] = {
        "namespace": "ns",
        "name": f"{of.name}-x",
        "uid": f"uid-of-{of.name}-x",
        "version": next(_versions),
        "run": "r",
        "run_uid": UID,
        "job_uid": of.uid,
        "job_name": of.name,
        "phase": ("Succeeded" if exit_code == 0 else "Failed") if ended else "Running" if running else "Pending",
        "started": NOW if running or ended else None,
        "finished": NOW if ended else None,
        "exit_code": exit_code,
        "message": message,
    }
    return Pod(**(values | changes))


def accuracy(value: float, dataset: str = "evaluation", examples: int = 100) -> Metric:
    """An accuracy with an interval around it."""
    low, high = max(0.0, value - 0.05), min(1.0, value + 0.05)
    return Metric(name="accuracy", dataset=dataset, value=value, examples=examples, low=low, high=high)


def evaluation(
    iteration: int, value: float, mistakes: int = 5, examples: int = 100, paired: tuple[int, int, int] | None = None
) -> StepResult:
    """The result of an evaluation; `paired` is the iteration to beat, rows gained and rows lost."""
    metric = accuracy(value, examples=examples)
    pair = paired and Paired(
        against=paired[0], dataset="evaluation", examples=examples, gained=paired[1], lost=paired[2]
    )
    return StepResult(StepId(Stage.EVALUATE, iteration), f"E{iteration}", (metric,), mistakes, paired=pair)


def report(stage: Stage, iteration: int = 0, **changes: Any) -> Report:
    """The report of a step that went well."""
    values: dict[str, Any] = {
        "run_uid": UID,
        "stage": stage,
        "iteration": iteration,
        "digest": f"sha256:{stage.value.lower()}{iteration}",
    }
    match stage:
        case Stage.PREPARE:
            values["resolved"] = Resolved(
                model_revision="abc", engine="Transformers", seed_count=40, evaluation_count=100
            )
        case Stage.TRAIN:
            values |= {"train_examples": 40 + iteration, "model_uri": f"s3://b/adapter{iteration}"}
        case Stage.EVALUATE:
            values |= {"metrics": (accuracy(0.7 + iteration / 500),), "mistakes": 10}
        case Stage.GENERATE:
            values |= {"generated": 30, "kept": 28}
        case Stage.TEST:
            values["metrics"] = (accuracy(0.69, "test"),)
    return Report(**(values | changes))
