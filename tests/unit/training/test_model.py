"""In what a student is computed, what counts as finite, and by which settings it is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2DoubleHeadsModel, LlamaConfig, LlamaForCausalLM

from llm2llm.training import model as students
from llm2llm.training.model import is_finite, merge_adapter, resolve_precision, save_model


@pytest.mark.parametrize(
    ("setting", "there", "precision"),
    [
        pytest.param("Auto", True, "bf16", id="Auto on a device that has bf16"),
        pytest.param("Auto", False, "fp32", id="Auto on one that has not"),
        pytest.param("bf16", False, "bf16", id="bf16 wherever it is asked for"),
        pytest.param("fp32", True, "fp32", id="fp32 wherever it is asked for"),
    ],
)
def test_auto_is_what_the_device_computes_in(
    setting: Literal["Auto", "fp32", "bf16"], there: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "has_bf16", lambda: there)
    assert resolve_precision(setting) == precision


class Two(torch.nn.Module):
    """A weight that is trained, and one that is not."""

    def __init__(self, trained: float = 1.0, frozen: float = 1.0) -> None:
        super().__init__()
        self.trained = torch.nn.Parameter(torch.tensor([1.0, trained]))
        self.frozen = torch.nn.Parameter(torch.tensor([1.0, frozen]), requires_grad=False)

    def save_pretrained(self, target: str, **_: Any) -> None:
        Path(target).mkdir(parents=True)
        self.saved = {name: weight.dtype for name, weight in self.named_parameters()}


@pytest.mark.parametrize(
    ("model", "finite"),
    [
        pytest.param(Two(), True, id="all are numbers"),
        pytest.param(Two(trained=float("nan")), False, id="one is no number"),
        pytest.param(Two(trained=float("-inf")), False, id="one is infinite"),
        pytest.param(Two(frozen=float("inf")), True, id="the base had it before, and nothing was trained there"),
    ],
)
def test_a_training_is_finite_where_all_that_it_changed_is(model: Two, finite: bool) -> None:
    assert is_finite(model) is finite


def base_folder(folder: Path, generation: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    config = {
        "architectures": ["X"],
        "torch_dtype": "float16",
        "eos_token_id": 1,
        "bos_token_id": 5,
        "_name_or_path": "/scratch/of/another",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.mark.parametrize(
    ("generation", "written"),
    [
        pytest.param(None, {"eos_token_id": 1, "bos_token_id": 5}, id="from the config where there is nothing else"),
        pytest.param({"eos_token_id": [1, 2], "pad_token_id": 0}, {"eos_token_id": [1, 2], "bos_token_id": 5, "pad_token_id": 0},
                     id="what is said for generation counts more"),
        pytest.param({"eos_token_id": None, "temperature": 0.6, "repetition_penalty": 1.2}, {"eos_token_id": 1, "bos_token_id": 5},
                     id="no sampling, no penalty, and nothing that is null"),
    ],
)  # fmt: skip
def test_a_student_is_served_greedily_with_the_special_tokens_of_its_base(
    tmp_path: Path, generation: dict[str, Any] | None, written: dict[str, Any]
) -> None:
    base, target = base_folder(tmp_path / "base", generation), tmp_path / "model"
    save_model(Two(), base, target, precision="fp32")

    assert json.loads((target / "generation_config.json").read_text()) == written | {"do_sample": False}


def test_a_whole_student_has_its_bases_config_and_tokenizer_and_says_in_what_it_is_stored(tmp_path: Path) -> None:
    base, target, model = base_folder(tmp_path / "base"), tmp_path / "model", Two()
    save_model(model, base, target, precision="bf16")

    assert json.loads((target / "config.json").read_text()) == {
        "architectures": ["X"], "dtype": "bfloat16", "eos_token_id": 1, "bos_token_id": 5,
    }  # fmt: skip
    assert set(model.saved.values()) == {torch.bfloat16}
    assert (target / "tokenizer.json").read_text() == "{}"
    assert not (target / "model.safetensors").exists()  # the base's


@pytest.mark.parametrize(
    ("stored", "asked", "written"),
    [
        pytest.param("float32", "Auto", "fp32", id="a base in fp32"),
        pytest.param("bfloat16", "Auto", "bf16", id="a base in 16 bits"),
        pytest.param("bfloat16", "fp32", "fp32", id="as exact as it was scored"),
    ],
)
def test_a_merged_adapter_is_a_model_that_answers_alike(
    stored: str, asked: Literal["Auto", "fp32", "bf16"], written: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    base: Any = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2))
    base.to(getattr(torch, stored)).save_pretrained(tmp_path / "base")
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    student = get_peft_model(base.to(torch.float32), lora)
    student.save_pretrained(str(tmp_path / "adapter"))
    assert merge_adapter(tmp_path / "adapter", tmp_path / "base", tmp_path / "merged", asked) == written
    tokens = torch.arange(32).reshape(4, 8)
    merged, before = (
        LlamaForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32)(tokens).logits
        for name in ("merged", "base")
    )
    assert torch.allclose(merged, student(tokens).logits, atol={"fp32": 1e-4, "bf16": 0.2}[written])
    assert not torch.allclose(merged, before, atol=1e-2)


def test_only_models_of_transformers_itself_are_asked_for_the_logits_of_some_positions() -> None:
    class Own(LlamaForCausalLM):
        """As a model whose Python files lie beside its weights."""

    config = LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, head_dim=8
    )
    llama: Any = LlamaForCausalLM(config)
    assert students.selects_logits(llama)
    assert not students.selects_logits(Own(config))
    assert not students.selects_logits(GPT2DoubleHeadsModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=8)))
    assert students.selects_logits(
        get_peft_model(llama, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    )
