"""vLLM and transformers, fed the same token ids, judge a student alike: the keyword example's, on 2,240 prompts."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.data_plane import keyword
from tests.integration.data_plane.vllmprocess import run_step_with_vllm
from tests.support.install import CHECKOUT

from llm2llm.records import Prediction, Stage, predictions_from_jsonl
from llm2llm.stages.commit import committed, read_object
from llm2llm.stages.context import StepContext
from llm2llm.stages.entry import run_step
from llm2llm.storage import LocalStore

EXAMPLE = CHECKOUT / "examples" / "keyword"
SEEDS, HELD_OUT = 240, 2000


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The example's spec over its own data and pretrained student, in one iteration."""
    folder = tmp_path_factory.mktemp("example")
    subprocess.run([sys.executable, str(EXAMPLE / "make.py"), "--out", str(folder)], check=True)
    spec: dict[str, Any] = yaml.safe_load((EXAMPLE / "run.yaml").read_text())["spec"]
    for name in ("seed", "evaluation"):
        spec["data"][name]["uri"] = (folder / f"{name}.jsonl").as_uri()
    spec["student"]["model"]["uri"] = (folder / "model").as_uri()
    return spec | {"artifacts": {"uri": "file:///artifacts", "key": "run"}, "maxIterations": 1}


def judged(folder: Path, document: dict[str, Any], engine: str, precision: str) -> list[Prediction]:
    """Trains the student, and has an engine answer; both trainings give the same adapter."""
    run = keyword.Run(copy.deepcopy(document) | {"evaluate": {"engine": engine, "precision": precision}})
    store, context = (
        LocalStore(folder / engine),
        StepContext("pod", folder / f"scratch-{engine}", progress=lambda _: None),
    )
    for stage in (Stage.PREPARE, Stage.TRAIN):
        run.add(run_step(run.step(stage), store, context))
    step = run.step(Stage.EVALUATE)
    if engine == "vLLM":
        run_step_with_vllm(step, folder / engine, folder / "scratch-of-vllm")
    else:
        run_step(step, store, context)
    manifest = committed(store, step)
    assert manifest is not None
    return [
        told
        for name in ("seed", "evaluation")
        for told in predictions_from_jsonl(read_object(store, manifest, f"predictions.{name}.jsonl"))
    ]


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("method", "precision", "least"),
    [
        pytest.param("LoRA", "fp32", 1.0, id="all of them in fp32"),
        pytest.param("QLoRA", "bf16", 0.99, id="99 % in bf16, which is all that vLLM has for QLoRA"),
    ],
)
def test_both_engines_give_the_same_answers(
    tmp_path: Path, document: dict[str, Any], method: str, precision: str, least: float
) -> None:
    document = copy.deepcopy(document)
    document["train"]["method"] = method
    expected, found = (judged(tmp_path, document, engine, precision) for engine in ("Transformers", "vLLM"))
    equal = sum(mine == theirs for mine, theirs in zip(expected, found, strict=True))

    print(f"{method}, {precision}: {equal} of {len(found)} answers are equal")
    assert len(found) == SEEDS + HELD_OUT
    assert equal >= least * len(found)
    assert sum(told.correct for told in found) > len(found) / 2
    assert len(Counter(told.verdict for told in found)) > 1


@pytest.mark.vllm
def test_both_engines_give_the_same_answers_where_all_weights_were_trained(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    document = copy.deepcopy(document)
    del document["train"]["lora"]
    document["train"] |= {
        "method": "Full",
        "hyperparameters": {**document["train"]["hyperparameters"], "numTrainEpochs": 4},
    }

    assert judged(tmp_path, document, "Transformers", "fp32") == judged(tmp_path, document, "vLLM", "fp32")
