"""The Job of a step as the operator would create it, and what is in its container."""

from __future__ import annotations

from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import Kind, Stage
from llm2llm_operator.build.job import job_manifest
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


def manifest_of_group(stage: Stage, fs_group: int | None, changes: dict[str, Any]) -> dict[str, Any]:
    """The same where the operator gives volumes to a group."""
    return _manifest(CurrentStep(stage=stage.value, job_name="name"), changes, fs_group)


def collecting(stage: Stage, **changes: Any) -> dict[str, Any]:
    """The Job of an attempt that only reads the report of a step again."""
    return _manifest(CurrentStep(stage=stage.value, kind=Kind.COLLECT, job_name="name"), changes)


def _manifest(current: CurrentStep, changes: dict[str, Any], fs_group: int | None = None) -> dict[str, Any]:
    run = builders.run(**changes)
    spec = AugmentationRunSpec.model_validate(run.spec)
    return job_manifest(run, spec, current, {}, IMAGES, fs_group=fs_group)


def container(body: dict[str, Any]) -> dict[str, Any]:
    """The container of a Job's pod."""
    found: dict[str, Any] = body["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(body: dict[str, Any]) -> dict[str, Any]:
    """The variables of that container, each with its value or with where it comes from."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(body)["env"]}
