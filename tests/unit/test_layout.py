from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.keys import content_key, differing_fields, key_fields
from llm2llm.layout import run_root
from llm2llm.records import Stage, StepDocument
from llm2llm.runtime.context import Step


def step(stage: Stage, **changes: Any) -> Step:
    return Step.of(
        StepDocument(
            stage=stage, namespace="ns", run="r", run_uid="u", spec=builders.spec(**changes), parents={"inputs": "p"}
        )
    )


def merged(path: str, value: Any) -> dict[str, Any]:
    spec = builders.spec()
    node = spec
    *parents, last = path.split(".")
    for name in parents:
        node[name] = dict(node.get(name, {}))
        node = node[name]
    node[last] = value
    return {parents[0] if parents else last: spec[parents[0] if parents else last]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.method", "QLoRA"),
        ("train.lora.r", 4),
        ("train.hyperparameters.learningRate", "1e-3"),
        ("train.minSteps", 7),
        ("randomSeed", 3),
    ],
)
def test_what_changes_the_adapter_changes_the_key_of_training(path: str, value: Any):
    assert content_key(step(Stage.TRAIN)) != content_key(step(Stage.TRAIN, **merged(path, value)))


def test_a_quantized_base_is_another_evaluation_whatever_the_adapter():
    assert content_key(step(Stage.EVALUATE)) != content_key(step(Stage.EVALUATE, **merged("train.method", "QLoRA")))


@pytest.mark.parametrize(
    ("stage", "path", "value"),
    [
        (Stage.EVALUATE, "evaluate.sampling.temperature", "0.7"),
        (Stage.EVALUATE, "augmentFrom", "SeedAndSynthetic"),
        (Stage.GENERATE, "augmentFrom", "SeedAndSynthetic"),
    ],
)
def test_what_changes_a_step_s_output_changes_its_key(stage: Stage, path: str, value: Any):
    assert content_key(step(stage)) != content_key(step(stage, **merged(path, value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [("maxIterations", 9), ("objective", {"goal": "0.9"}), ("train.image", "x"), ("train.checkpoint.intervalSeconds", 5), ("retry", 2), ("suspend", True),
     ("artifacts.endpoint", "http://elsewhere"), ("generate.teacher.baseUrl", "http://elsewhere/v1"),
     ("train.resources.limits", {"nvidia.com/gpu": "8"}), ("generate.limits.maxConcurrentRequests", 2)],
)  # fmt: skip
@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE, Stage.GENERATE])
def test_how_a_step_runs_is_not_in_its_key(stage: Stage, path: str, value: Any):
    assert content_key(step(stage)) == content_key(step(stage, **merged(path, value)))


def test_defaults_that_the_api_server_fills_in_do_not_change_the_key():
    filled = AugmentationRunSpec.model_validate(builders.spec()).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    plain = step(Stage.TRAIN)
    assert content_key(plain) == content_key(replace(plain, spec=AugmentationRunSpec.model_validate(filled)))


def test_a_mismatch_names_the_field_and_both_values():
    mine, theirs = key_fields(step(Stage.TRAIN)), key_fields(step(Stage.TRAIN, **merged("train.minSteps", 7)))
    assert differing_fields(mine, theirs) == ["train.minSteps: 100 in this run, 7 in the store"]


@pytest.mark.parametrize(("key", "root"), [("", "s3://b/runs/ns/r-3b7d0c1e"), ("mine", "s3://b/runs/ns/mine")])
def test_the_root_of_a_run(key: str, root: str):
    spec = AugmentationRunSpec.model_validate(builders.spec(artifacts={"uri": "s3://b/runs/", "key": key}))
    assert run_root(spec, "ns", "r", builders.UID) == root
