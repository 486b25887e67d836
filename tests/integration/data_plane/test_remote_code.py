"""A student whose architecture or tokenizer comes as Python files: run where the user trusts it, and not else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.data_plane.bench import Bench
from tests.support import keyword

from llm2llm.errors import ConfigurationError
from llm2llm.models.cache import LIST
from llm2llm.records import Stage
from llm2llm.step import run_step
from llm2llm.storage import Store

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own-architecture"

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""

TOKENIZER = """
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

class OwnTokenizer(PreTrainedTokenizerFast):
    vocab_files_names = {"vocab_file": "own.tiktoken"}

    def __init__(self, vocab_file=None, **options):
        super().__init__(tokenizer_object=Tokenizer.from_file(vocab_file), **options)
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


def trained(bench: Bench, method: str) -> tuple[keyword.Run, Store]:
    """A run after its first training and evaluation."""
    train = {**keyword.TRAIN, "method": method, "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 1}}
    if method == "Full":
        del train["lora"]
    student = {"model": {"uri": bench.student.as_uri()}, "trustRemoteCode": True}
    run, store = bench.run("trusted", student=student, train=train)
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        run.add(run_step(run.step(stage), store, bench.context(f"pod-{stage}")))
    return run, store


@pytest.mark.parametrize("method", ["LoRA", "Full"])
def test_code_that_is_trusted_trains_and_answers(bench: Bench, method: str) -> None:
    run, _ = trained(bench, method)
    assert run.reports[-1].metrics[0].examples == 40


@pytest.mark.parametrize("method", ["LoRA", "Full"])
def test_a_student_has_all_that_its_tokenizer_of_its_own_code_wants_and_nothing_about_the_base(
    bench: Bench, method: str
) -> None:
    (bench.student / "tokenizer.json").rename(bench.student / "own.tiktoken")
    (bench.student / "own_tokenizer.py").write_text(TOKENIZER)
    path = bench.student / "tokenizer_config.json"
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "own_tokenizer.OwnTokenizer"]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    for name in ("LICENSE.txt", "README.txt", "model.safetensors.index.json", "trainer_state.json", LIST):
        (bench.student / name).write_text("{}")
    run, store = trained(bench, method)
    files = {Path(name).name: content for name, content in keyword.adapter_bytes(store).items()}

    assert {"own.tiktoken", "own_tokenizer.py", "own_code.py", "tokenizer_config.json"} <= files.keys()
    assert not files.keys() & {"LICENSE.txt", "README.txt", "model.safetensors.index.json", "trainer_state.json", LIST}
    assert ("config.json" in files) == (method == "Full")
    assert run.reports[-1].metrics[0].examples == 40
