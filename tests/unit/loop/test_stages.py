"""Where each stage runs, and what its steps and folders are called."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stages import image_key, step_block, step_folder, step_label
from llm2llm.records import Stage

LOCAL = {"mode": "Local", "teacher": {"model": "t", "source": {"uri": "hf://o/teacher"}}}


def spec(**changes: Any) -> AugmentationRunSpec:
    blocks = ("prepare", "train", "evaluate", "generate")
    images = {name: {"image": f"{name}:1"} | (builders.spec().get(name) or {}) for name in blocks}
    return AugmentationRunSpec.model_validate(builders.spec(**images) | changes)


@pytest.mark.parametrize(
    ("stage", "image"),
    [
        pytest.param(Stage.PREPARE, "prepare:1", id="Prepare"),
        pytest.param(Stage.TRAIN, "train:1", id="Train"),
        pytest.param(Stage.EVALUATE, "evaluate:1", id="Evaluate"),
        pytest.param(Stage.GENERATE, "generate:1", id="Generate"),
        pytest.param(Stage.TEST, "evaluate:1", id="Test runs where Evaluate does"),
    ],
)
def test_a_stage_runs_as_its_block_says(stage: Stage, image: str):
    assert step_block(spec(), stage).image == image


@pytest.mark.parametrize(
    ("stage", "generate", "key"),
    [
        pytest.param(Stage.GENERATE, {}, "generate", id="an endpoint is asked from the generator's"),
        pytest.param(Stage.GENERATE, LOCAL, "evaluate", id="a teacher inside the Job needs vLLM"),
        pytest.param(Stage.TRAIN, LOCAL, "train", id="which changes nothing for other stages"),
        pytest.param(Stage.TEST, {}, "evaluate", id="the test is an evaluation"),
    ],
)
def test_the_default_image_of_a_stage(stage: Stage, generate: dict[str, Any], key: str):
    assert image_key(spec(**{"generate": generate} if generate else {}), stage) == key


@pytest.mark.parametrize(
    ("stage", "iteration", "label", "folder"),
    [
        pytest.param(Stage.PREPARE, 0, "prepare", "inputs", id="Prepare has no iteration"),
        pytest.param(Stage.TRAIN, 3, "i003-train", "iterations/003/train", id="names sort as numbers do"),
        pytest.param(Stage.TEST, 102, "i102-test", "iterations/102/test", id="the test of a closing iteration"),
    ],
)
def test_the_name_and_folder_of_a_step(stage: Stage, iteration: int, label: str, folder: str):
    assert step_label(stage, iteration) == label
    assert step_folder(stage, iteration) == folder
