"""vLLM and transformers, fed the same token ids, judge a student alike: the keyword example's, on 2,240 prompts."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.data_plane.vllmprocess import run_step_with_vllm
from tests.support import keyword

from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.records import Prediction, Stage, predictions_from_jsonl
from llm2llm.runtime.context import StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore

SEEDS, HELD_OUT = 240, 2000
ENGINES: list[dict[str, Any]] = [{"engine": name, "precision": "fp32"} for name in ("Transformers", "vLLM")]
BF16 = [engine | {"precision": "bf16"} for engine in ENGINES]
LEAST_IN_BF16 = 0.99


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The example's spec over its own data and pretrained student, in one iteration."""
    folder = keyword.make_example(tmp_path_factory.mktemp("example"))
    spec: dict[str, Any] = yaml.safe_load((keyword.EXAMPLE / "run.yaml").read_text())["spec"]
    for name in ("seed", "evaluation"):
        spec["data"][name]["uri"] = (folder / f"{name}.jsonl").as_uri()
    spec["student"]["model"]["uri"] = (folder / "model").as_uri()
    return spec | {"artifacts": {"uri": "file:///artifacts", "key": "run"}, "maxIterations": 1}


def judged(folder: Path, document: dict[str, Any], *engines: dict[str, Any]) -> list[list[Prediction]]:
    """Trains the student once, and has each engine answer."""
    run, trained = keyword.Run(copy.deepcopy(document) | {"evaluate": engines[0]}), folder / "trained"
    context = StepContext("pod", folder / "scratch", progress=lambda _: None)
    for stage in (Stage.PREPARE, Stage.TRAIN):
        run.add(run_step(run.step(stage), LocalStore(trained), context))
    return [answers(run, shutil.copytree(trained, folder / f"engine-{n}"), engine) for n, engine in enumerate(engines)]


def answers(run: keyword.Run, folder: Path, engine: dict[str, Any]) -> list[Prediction]:
    """What an engine says to the seed rows, and then to the held-out ones."""
    run.document["evaluate"] = engine
    step, store = run.step(Stage.EVALUATE), LocalStore(folder)
    if engine["engine"] == "vLLM":
        run_step_with_vllm(step, folder, folder.with_name("scratch-of-vllm"))
    else:
        run_step(step, store, StepContext("pod", folder.with_name("scratch"), progress=lambda _: None))
    manifest = committed_manifest(store, step)
    assert manifest is not None
    return [
        told
        for name in ("seed", "evaluation")
        for told in predictions_from_jsonl(read_object(store, manifest, f"predictions.{name}.jsonl"))
    ]


def equal_verdicts(name: str, expected: list[Prediction], found: list[Prediction]) -> float:
    """The share of rows that both judge alike; prints the others, and how many answers are equal to the letter."""
    pairs = list(zip(expected, found, strict=True))
    assert len(pairs) == SEEDS + HELD_OUT
    others = [(mine, theirs) for mine, theirs in pairs if mine.verdict != theirs.verdict]
    answers_alike = sum(mine.output == theirs.output for mine, theirs in pairs)
    print(f"{name}: {len(pairs) - len(others)} of {len(pairs)} verdicts are equal, {answers_alike} answers")
    for mine, theirs in others:
        print(f"  {mine.id}: {mine.verdict} {mine.output!r}, by vLLM {theirs.verdict} {theirs.output!r}")
    return 1 - len(others) / len(pairs)


@pytest.mark.turns("engines")
@pytest.mark.vllm
def test_both_engines_give_the_same_answers(tmp_path: Path, document: dict[str, Any]) -> None:
    expected, found, *in_bf16 = judged(tmp_path, document, *ENGINES, *BF16)

    assert found == expected
    assert sum(told.correct for told in found) > len(found) / 2
    assert len(Counter(told.verdict for told in found)) > 1
    assert equal_verdicts("LoRA, bf16", *in_bf16) >= LEAST_IN_BF16


@pytest.mark.turns("engines")
@pytest.mark.vllm
def test_both_engines_give_nearly_the_same_answers_over_a_quantized_base(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    document = copy.deepcopy(document)
    document["train"]["method"] = "QLoRA"

    expected, found = judged(tmp_path, document, *BF16)  # all that vLLM has for QLoRA
    assert equal_verdicts("QLoRA, bf16", expected, found) >= LEAST_IN_BF16
    assert sum(told.correct for told in found) > len(found) / 2


@pytest.mark.turns("engines")
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

    expected, found = judged(tmp_path, document, *ENGINES)
    assert found == expected


@pytest.mark.turns("engines")
@pytest.mark.vllm
def test_vllm_over_two_processes_gives_the_same_answers_for_a_rank_that_it_has_no_kernel_for(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    document = copy.deepcopy(document)
    document["train"]["lora"] |= {"r": 12, "useRslora": True}

    expected, found = judged(tmp_path, document, ENGINES[0], ENGINES[1] | {"tensorParallelSize": 2})
    assert found == expected
    assert sum(told.correct for told in found) > len(found) / 2
