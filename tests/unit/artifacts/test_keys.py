"""Content keys outlive releases: what was computed under a key must be found under it for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tests.support import builders

from llm2llm.api.data import HeldOutSource, Source, StudentModel, Task
from llm2llm.api.generate import Filters
from llm2llm.api.run import AugmentationRunSpec, model_in
from llm2llm.api.stages import Hyperparameters, Lora, Sampling
from llm2llm.artifacts.keys import STAGE_SCHEMAS, content_key, differing_fields, key_fields
from llm2llm.records import Stage, StepDocument
from llm2llm.runtime.context import Step

DATA = Path(__file__).resolve().parents[2] / "data"
RECORDED: dict[str, dict[str, str]] = json.loads((DATA / "content-keys.json").read_text())
"""The first half of each key as the first release computed it (commit 00c09cf), by manifest, stage and iteration.

A key here changes only with the schema version of its stage; a manifest that is new since then is not in it.
"""


def key(spec: dict[str, Any], stage: Stage, iteration: int) -> str:
    parents = {} if stage is Stage.PREPARE else {"inputs": "sha256:1"}
    step = StepDocument(
        stage=stage, iteration=iteration, namespace="ns", run="r", run_uid="u", spec=spec, parents=parents
    )
    return content_key(Step.of(step)).removeprefix("sha256:")


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


@pytest.mark.parametrize("name", RECORDED)
def test_a_key_is_the_one_that_the_first_release_computed(name: str):
    stored = DATA / "manifests" / "stored" / name  # what is refused of a user today, and was accepted then
    file = stored if stored.exists() else DATA / "manifests" / "valid" / name
    spec = yaml.safe_load(file.read_text())["spec"]
    keys = {}
    for recorded in RECORDED[name]:
        stage, iteration = recorded.split()
        keys[recorded] = key(spec, Stage(stage), int(iteration))[:32]
    assert keys == RECORDED[name]


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_says_what_its_output_depends_on(stage: Stage):
    fields = key_fields(step(stage))
    assert fields.keys() > {"stage", "schema", "parents", "randomSeed"}
    assert fields["schema"] == STAGE_SCHEMAS[stage]


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
     ("train.resources.limits", {"nvidia.com/gpu": "8"}), ("generate.limits.maxConcurrentRequests", 2), ("tracking", {"mlflow": {"uri": "https://mlflow", "registeredModel": "m"}})],
)  # fmt: skip
@pytest.mark.parametrize("stage", Stage)
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


def fields_of(model: type[BaseModel], path: str) -> Iterator[tuple[str, FieldInfo]]:
    """The fields of a model, also those of its parts, by their paths."""
    for name, field in model.model_fields.items():
        here = f"{path}.{field.alias or name}"
        yield here, field
        if part := model_in(field.annotation):
            yield from fields_of(part, here)


BLOCKS: dict[str, type[BaseModel]] = {
    "task": Task, "seed": Source, "heldOut": HeldOutSource, "model": StudentModel, "lora": Lora,
    "hyperparameters": Hyperparameters, "sampling": Sampling, "filters": Filters,
}  # fmt: skip
"""Models that go into keys as a whole."""
WRITTEN_OUT = set((DATA / "key-fields.txt").read_text().split())
"""The fields of these models in the first release, which keys have written out even at their defaults."""


def test_a_field_that_is_new_in_a_block_of_a_key_says_so_with_its_first_default():
    found = {path: field for name, model in BLOCKS.items() for path, field in fields_of(model, name)}
    assert found.keys() >= WRITTEN_OUT
    for path in found.keys() - WRITTEN_OUT:
        marks = found[path].json_schema_extra
        assert isinstance(marks, dict), f"{path}: mark it with json_schema_extra=added_later(...)"
        assert "x-llm2llm-first-default" in marks, f"{path}: mark it with json_schema_extra=added_later(...)"
