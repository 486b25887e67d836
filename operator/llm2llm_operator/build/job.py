"""Builds the batch/v1 Job of a step's attempt. Pure.

The operator acts only through Jobs, so its rules are fields of the Job: it never retries by itself (rule C11), never
runs a second pod beside the first, has pods that pass Pod Security `restricted` and get no API token, and carries the
whole step, frozen, in one environment variable.
"""

from __future__ import annotations

import hashlib
from typing import Any

from llm2llm.api.pods import StepBlock
from llm2llm.api.run import API_VERSION, KIND, AugmentationRunSpec
from llm2llm.loop.outcomes import StepId
from llm2llm.loop.stages import STAGES, image_key, step_block, step_label
from llm2llm.podenv import CONTAINER
from llm2llm.records import Kind, Stage, StepDocument
from llm2llm_operator.build.pod import pod_template
from llm2llm_operator.build.poddefaults import NO_DEFAULTS, PodDefaults, merge_resources
from llm2llm_operator.constants import (
    ANNOTATION_SETTINGS,
    JOB_TTL_SECONDS,
    LABEL_ATTEMPT,
    LABEL_ITERATION,
    LABEL_QUEUE,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_STAGE,
    LABEL_WORKLOAD_PRIORITY,
    MANAGED_BY,
    OPERATOR,
)
from llm2llm_operator.model.run import Run
from llm2llm_operator.model.status import CurrentStep

POD_FAILURE_POLICY = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [143]}},
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(range(64, 73))},
        },
    ]
}
"""A disrupted pod is replaced within its Job; every other failure comes back to `plan` (Kubernetes Job API)."""


def job_name(run_name: str, run_uid: str, step: StepId, attempt: int) -> str:
    """Returns the name of an attempt's Job, which is deterministic, so that two creators cannot make two Jobs (rule
    C5).
    """
    return f"{job_prefix(run_name, run_uid)}{step_label(step.stage, step.iteration)}-a{attempt}"


def job_prefix(run_name: str, run_uid: str) -> str:
    """Returns how the names of all Jobs of a run begin, and those of no other run's."""
    return f"{run_name[:30].rstrip('-')}-{hashlib.sha256(run_uid.encode()).hexdigest()[:8]}-"


def block_of(spec: AugmentationRunSpec, current: CurrentStep) -> StepBlock:
    """Returns the step block of an attempt."""
    return step_block(spec, _stage_of_block(current))


def _stage_of_block(current: CurrentStep) -> Stage:
    """Returns the stage whose step block an attempt has: Prepare for Collect, which only reads a manifest."""
    return Stage.PREPARE if current.collects else current.id.stage


def image_of(spec: AugmentationRunSpec, images: dict[str, str], current: CurrentStep) -> str:
    """Returns the pinned image of an attempt: Collect uses Prepare's; Test and a local teacher use Evaluate's."""
    return images[image_key(spec, _stage_of_block(current))]


def step_document(run: Run, current: CurrentStep, parents: dict[str, str], gpu_seconds: int = 0) -> StepDocument:
    """Builds the document with everything that the attempt needs to know, frozen with its Job."""
    return StepDocument(
        kind=Kind(current.kind),
        stage=current.id.stage,
        iteration=current.iteration,
        attempt=current.attempt,
        namespace=run.namespace,
        run=run.name,
        run_uid=run.uid,
        spec=run.spec,
        parents=parents,
        micro_batch=current.micro_batch,
        gpu_seconds=gpu_seconds,
    )


def _queue_labels(spec: AugmentationRunSpec, current: CurrentStep) -> dict[str, str]:
    """Returns the labels for Kueue. A Job that uses no GPU does not wait for one: its queue is its own, or none."""
    queue, priority = queue_of(spec, current), spec.scheduling.workload_priority_class_name
    labels = {LABEL_QUEUE: queue} if queue else {}
    if priority and (queue or uses_gpus(spec, current)):  # Kueue may give a Job its namespace's default queue
        labels[LABEL_WORKLOAD_PRIORITY] = priority
    return labels


def queue_of(spec: AugmentationRunSpec, current: CurrentStep) -> str:
    """Returns the queue that an attempt's Job waits in; empty: none."""
    return spec.scheduling.queue_name if uses_gpus(spec, current) else spec.scheduling.cpu_queue_name


def uses_gpus(spec: AugmentationRunSpec, current: CurrentStep) -> bool:
    """Returns whether an attempt is one of those that GPUs are for; of Generate only one with a teacher of its own."""
    if current.collects or not STAGES[current.id.stage].queued:
        return False
    return current.id.stage is not Stage.GENERATE or block_of(spec, current).gpus > 0


def job_manifest(
    run: Run,
    spec: AugmentationRunSpec,
    current: CurrentStep,
    parents: dict[str, str],
    images: dict[str, str],
    *,
    gpu_seconds: int = 0,
    settings: str = "",
    defaults: PodDefaults = NO_DEFAULTS,
) -> dict[str, Any]:
    """Builds the Job of the current attempt.

    Args:
        run: the owner.
        spec: its spec, parsed.
        current: stage, iteration, attempt, kind and micro-batch, as persisted in status.
        parents: folder to digest of every committed output that the step reads.
        images: pinned image by stage; an image in the step block takes precedence.
        gpu_seconds: what the run has spent so far, for a budget in money.
        settings: what it is made from (`build/settings.py`).
        defaults: what the operator's settings add to the pod, unless the run decides.

    Raises:
        ValueError: the step document does not fit into an environment variable.
    """
    stage = current.id.stage
    block = block_of(spec, current)
    labels = {
        MANAGED_BY: OPERATOR,
        LABEL_RUN: run.name,
        LABEL_RUN_UID: run.uid,
        LABEL_STAGE: stage.value.lower(),
        LABEL_ITERATION: str(current.iteration),
        LABEL_ATTEMPT: str(current.attempt),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": current.job_name,
            "namespace": run.namespace,
            "labels": labels | _queue_labels(spec, current),
            "annotations": {ANNOTATION_SETTINGS: settings},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": run.name,
                    "uid": run.uid,
                    "controller": True,
                    # deleted with --cascade=foreground, the run stays until its pod is gone
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": POD_FAILURE_POLICY,
            "ttlSecondsAfterFinished": JOB_TTL_SECONDS,
            "template": pod_template(
                spec,
                block,
                image=block.image or image_of(spec, images, current),
                labels=labels,
                document=step_document(run, current, parents, gpu_seconds),
                resources=merge_resources(
                    block.resources, defaults.resources.get(STAGES[_stage_of_block(current)].block)
                ),
                defaults=defaults,
            ),
        },
    }
