"""A parsed step as the document that a pod gets."""

from __future__ import annotations

from llm2llm.records import StepDocument
from llm2llm.runtime.context import Step


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
