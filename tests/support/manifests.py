"""The Job of a step as the operator would create it, and what is in its container."""

from __future__ import annotations

from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import Kind, Stage
from llm2llm_operator.build.job import job_manifest
from llm2llm_operator.build.poddefaults import NO_DEFAULTS, PodDefaults
from llm2llm_operator.model.status import CurrentStep
from tests.support import builders

IMAGES = {"prepare": "p", "train": "t", "evaluate": "e", "generate": "g"}
LOCAL: dict[str, Any] = {
    "generate": {
        "mode": "Local",
        "teacher": {
            "model": "m",
            "source": {"uri": "pvc://teachers/big", "tokenSecretRef": {"name": "hub", "key": "t"}},
        },
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    },
    "scheduling": {"queueName": "gpu"},
}
"""Changes of a spec: a teacher of its own, on a GPU."""


def manifest(stage: Stage, **changes: Any) -> dict[str, Any]:
    """The Job of the first attempt of a step; `changes` replace top-level fields of the spec."""
    return _manifest(CurrentStep(stage=stage.value, job_name="name"), changes)


def manifest_with(
    defaults: PodDefaults, stage: Stage, changes: dict[str, Any] | None = None, *, kind: Kind = Kind.RUN
) -> dict[str, Any]:
    """The same where the operator's settings add something to the pods of steps."""
    return _manifest(CurrentStep(stage=stage.value, kind=kind, job_name="name"), changes or {}, defaults)


def collecting(stage: Stage, **changes: Any) -> dict[str, Any]:
    """The Job of an attempt that only reads the report of a step again."""
    return manifest_with(NO_DEFAULTS, stage, changes, kind=Kind.COLLECT)


def _manifest(current: CurrentStep, changes: dict[str, Any], defaults: PodDefaults = NO_DEFAULTS) -> dict[str, Any]:
    run = builders.run(**changes)
    spec = AugmentationRunSpec.model_validate(run.spec)
    return job_manifest(run, spec, current, {}, IMAGES, defaults=defaults)


def container(body: dict[str, Any]) -> dict[str, Any]:
    """The container of a Job's pod."""
    found: dict[str, Any] = body["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(body: dict[str, Any]) -> dict[str, Any]:
    """The variables of that container, each with its value or with where it comes from."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(body)["env"]}
