"""Content keys outlive releases: what was computed under a key must be found under it for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import builders

from llm2llm.artifacts.keys import STAGE_SCHEMAS, content_key, key_fields
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


@pytest.mark.parametrize("name", RECORDED)
def test_a_key_is_the_one_that_the_first_release_computed(name: str):
    spec = yaml.safe_load((DATA / "manifests" / "valid" / name).read_text())["spec"]
    keys = {}
    for step in RECORDED[name]:
        stage, iteration = step.split()
        keys[step] = key(spec, Stage(stage), int(iteration))[:32]
    assert keys == RECORDED[name]


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_says_what_its_output_depends_on(stage: Stage):
    step = StepDocument(stage=stage, namespace="ns", run="r", run_uid="u", spec=builders.spec())
    fields = key_fields(Step.of(step))
    assert fields.keys() > {"stage", "schema", "parents", "randomSeed"}
    assert fields["schema"] == STAGE_SCHEMAS[stage]
