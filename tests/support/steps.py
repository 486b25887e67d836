"""Steps of a small run: parsed, as the document that a pod gets, and committed without any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm2llm.artifacts.commit import commit
from llm2llm.records import Report, Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import Store
from tests.support import builders


def step_of(stage: Stage, iteration: int = 0, parents: Mapping[str, str] | None = None, **changes: Any) -> Step:
    """A step of the run of `builders.spec`; `changes` replace the spec's top-level fields."""
    document = StepDocument(
        stage=stage,
        iteration=iteration,
        namespace="ns",
        run="r",
        run_uid=builders.UID,
        spec=builders.spec(**changes),
        parents=dict(parents or {}),
    )
    return Step.of(document)


def commit_step(
    store: Store, step: Step, files: Mapping[str, bytes | Path] | None = None, *, pod_uid: str = "pod-a", **told: Any
) -> Report:
    """Commits these files as the output of a step; `told` replaces fields of its report."""
    report = builders.report(step.stage, step.iteration, **told)
    return commit(store, step, StepContext(pod_uid, Path("unused")), files or {}, report)


def document_of(step: Step) -> StepDocument:
    """The document that describes a step, as the operator would write it."""
    return StepDocument(
        kind=step.kind,
        stage=step.stage,
        iteration=step.iteration,
        attempt=step.attempt,
        namespace=step.namespace,
        run=step.run,
        run_uid=step.run_uid,
        spec=step.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        parents=dict(step.parents),
        micro_batch=step.micro_batch,
        gpu_seconds=step.gpu_seconds,
    )
