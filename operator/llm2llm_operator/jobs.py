"""A step's attempt becomes a batch/v1 Job. Pure.

The Job is the operator's only tool, so the rules live in its fields: no retry of its own (rule 11), no second pod
beside the first, pods that `restricted` admits, no API token, and the whole step frozen in one environment variable.
"""

from __future__ import annotations

import hashlib
from typing import Any

from llm2llm.api import API_VERSION, KIND, AugmentationRunSpec, SecretKeyReference, StepBlock
from llm2llm.loop import StepId
from llm2llm.records import Kind, Stage, StepDocument
from llm2llm_operator.constants import (
    CONTAINER,
    JOB_TTL_SECONDS,
    LABEL_ATTEMPT,
    LABEL_ITERATION,
    LABEL_QUEUE,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_STAGE,
    MANAGED_BY,
    OPERATOR,
    SCRATCH,
)
from llm2llm_operator.resource import CurrentStep, Run

TEACHER_KEY = "LLM2LLM_TEACHER_API_KEY"
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable, not a token
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
"""A disrupted pod is replaced within its Job; every other end comes back to `plan` (Kubernetes Job API)."""


def job_name(run_name: str, run_uid: str, step: StepId, attempt: int) -> str:
    """Name of an attempt's Job: the same for everyone who asks, so that two creators cannot make two Jobs (rule 5)."""
    prefix = f"{run_name[:30].rstrip('-')}-{hashlib.sha256(run_uid.encode()).hexdigest()[:8]}"
    part = "prepare" if step.stage is Stage.PREPARE else f"i{step.iteration:03d}-{step.stage.value.lower()}"
    return f"{prefix}-{part}-a{attempt}"


def step_block(spec: AugmentationRunSpec, stage: Stage, kind: Kind) -> StepBlock:
    """Image, resources and placement of a stage; Collect only reads a manifest, so it runs as Prepare does, on CPU."""
    if kind is Kind.COLLECT:
        return spec.prepare
    match stage:
        case Stage.PREPARE:
            return spec.prepare
        case Stage.TRAIN:
            return spec.train
        case Stage.EVALUATE:
            return spec.evaluate
        case Stage.GENERATE:
            return spec.generate


def step_document(run: Run, current: CurrentStep, parents: dict[str, str]) -> StepDocument:
    """Everything that the attempt needs to know, frozen with its Job."""
    return StepDocument(
        kind=Kind(current.kind),
        stage=Stage(current.stage),
        iteration=current.iteration,
        attempt=current.attempt,
        namespace=run.namespace,
        run=run.name,
        run_uid=run.uid,
        spec=run.spec,
        parents=parents,
        micro_batch=current.micro_batch,
    )


def job_manifest(
    run: Run, spec: AugmentationRunSpec, current: CurrentStep, parents: dict[str, str], images: dict[str, str]
) -> dict[str, Any]:
    """The Job of the current attempt.

    Args:
        run: the owner.
        spec: its spec, parsed.
        current: stage, iteration, attempt, kind and micro-batch, as persisted in status.
        parents: folder to digest of every committed output that the step reads.
        images: pinned image by stage; an image in the step block wins.

    Raises:
        ValueError: the step document does not fit into an environment variable.
    """
    stage, kind = Stage(current.stage), Kind(current.kind)
    block = step_block(spec, stage, kind)
    image_stage = Stage.PREPARE if kind is Kind.COLLECT else stage
    labels = {
        MANAGED_BY: OPERATOR,
        LABEL_RUN: run.name,
        LABEL_RUN_UID: run.uid,
        LABEL_STAGE: stage.value.lower(),
        LABEL_ITERATION: str(current.iteration),
        LABEL_ATTEMPT: str(current.attempt),
    }
    queue = {LABEL_QUEUE: spec.scheduling.queue_name} if spec.scheduling.queue_name and kind is Kind.RUN else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": current.job_name,
            "namespace": run.namespace,
            "labels": labels | (queue if stage is not Stage.PREPARE else {}),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": run.name,
                    "uid": run.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": POD_FAILURE_POLICY,
            "ttlSecondsAfterFinished": JOB_TTL_SECONDS,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(
                    spec, block, block.image or images[image_stage.value.lower()], step_document(run, current, parents)
                ),
            },
        },
    }


def _pod(spec: AugmentationRunSpec, block: StepBlock, image: str, document: StepDocument) -> dict[str, Any]:
    placement: dict[str, Any] = {}
    if block.node_selector:
        placement["nodeSelector"] = block.node_selector
    if block.tolerations:
        placement["tolerations"] = [t.model_dump(by_alias=True, exclude_defaults=True) for t in block.tolerations]
    if spec.scheduling.priority_class_name:
        placement["priorityClassName"] = spec.scheduling.priority_class_name
    return placement | {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "command": ["llm2llm", "step"],
                "env": _environment(spec, block, document),
                "resources": block.resources.model_dump(by_alias=True, exclude_defaults=True),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}],
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }


def _environment(spec: AugmentationRunSpec, block: StepBlock, document: StepDocument) -> list[dict[str, Any]]:
    """Our variables come last: of two with one name a kubelet takes the last."""
    users = [{"name": var.name, "value": var.value} for var in block.env]
    ours: list[dict[str, Any]] = [
        {"name": "LLM2LLM_STEP", "value": document.to_environment()},
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "LLM2LLM_SCRATCH", "value": SCRATCH},
        {"name": "HOME", "value": SCRATCH},
        {"name": "TMPDIR", "value": SCRATCH},
        {"name": "XDG_CACHE_HOME", "value": f"{SCRATCH}/cache"},
    ]
    credentials = spec.artifacts.credentials_secret_ref
    if credentials:
        for name, optional in (
            ("AWS_ACCESS_KEY_ID", False),
            ("AWS_SECRET_ACCESS_KEY", False),
            ("AWS_SESSION_TOKEN", True),
        ):
            ours.append(_from_secret(name, SecretKeyReference(name=credentials.name, key=name), optional=optional))
    if document.kind is Kind.RUN:
        teacher = spec.generate.teacher.api_key_secret_ref
        if teacher and document.stage in (Stage.PREPARE, Stage.GENERATE):
            ours.append(_from_secret(TEACHER_KEY, teacher))
        hub = spec.student.token_secret_ref
        if hub and document.stage is not Stage.GENERATE:
            ours.append(_from_secret(HUB_TOKEN, hub))
    return users + ours


def _from_secret(name: str, reference: SecretKeyReference, *, optional: bool = False) -> dict[str, Any]:
    source: dict[str, Any] = {"name": reference.name, "key": reference.key}
    return {"name": name, "valueFrom": {"secretKeyRef": source | ({"optional": True} if optional else {})}}
