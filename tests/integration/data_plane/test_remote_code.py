"""A student whose architecture comes as Python files beside its weights: run where the user trusts it, and not else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.data_plane import keyword
from tests.integration.data_plane.bench import Bench

from llm2llm.errors import ConfigurationError
from llm2llm.records import Stage
from llm2llm.stages.entry import run_step

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own-architecture"

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def bench(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "own"
    shutil.copytree(student, folder)
    (folder / "own_code.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "own-architecture",
        "architectures": ["OwnForCausalLM"],
        "auto_map": {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnForCausalLM"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return Bench(tmp_path, folder)


def test_code_that_is_not_trusted_is_told_before_a_gpu_is_asked_for(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match=r"spec\.student\.trustRemoteCode"):
        bench.run("refused")


@pytest.mark.parametrize("method", ["LoRA", "Full"])
def test_code_that_is_trusted_trains_and_answers(bench: Bench, method: str) -> None:
    train = {**keyword.TRAIN, "method": method, "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 1}}
    if method == "Full":
        del train["lora"]
    student = {"model": {"uri": bench.student.as_uri()}, "trustRemoteCode": True}
    run, store = bench.run("trusted", student=student, train=train)
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        run.add(run_step(run.step(stage), store, bench.context(f"pod-{stage}")))
    assert run.reports[-1].metrics[0].examples == 40
