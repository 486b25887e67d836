"""Weights that are loaded, and what is said of those that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from transformers import LlamaConfig, LlamaForCausalLM

from llm2llm.errors import ConfigurationError
from llm2llm.models.weights import load_weights

SMALL: dict[str, Any] = {
    "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(LlamaConfig(**SMALL, dtype="bfloat16")).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_all_weights_are_numbers_of_the_kind_that_is_asked_for_whatever_the_files_have(
    base: Path, dtype: torch.dtype
) -> None:
    model = load_weights(base, dtype)
    assert {weight.dtype for weight in model.parameters()} == {dtype}


def copied(base: Path, folder: Path, name: str, content: bytes | None) -> Path:
    """A copy with another file of this name, or without it."""
    folder.mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("model.safetensors", None, id="no weights"),
        pytest.param("model.safetensors", b"no", id="a file that is cut"),
        pytest.param("config.json", b'{"model_type": "of next year"}', id="an architecture that nobody knows"),
        pytest.param("config.json", b"{", id="half of a config"),
    ],
)
def test_weights_that_cannot_be_loaded_are_a_mistake_in_the_spec(
    base: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    folder = copied(base, tmp_path / "copy", name, content)
    with pytest.raises(ConfigurationError, match=r"^spec\.student\.model: the weights cannot be loaded: "):
        load_weights(folder, torch.float32)


@pytest.mark.parametrize("content", ["body", "nothing"])
def test_fault_60_a_checkpoint_that_lacks_weights_is_refused_instead_of_being_filled_with_random_ones(
    base: Path, tmp_path: Path, content: str
) -> None:
    weights = load_file(base / "model.safetensors")
    del weights["lm_head.weight"]
    folder = copied(base, tmp_path / "copy", "model.safetensors", save(weights if content == "body" else {}))
    with pytest.raises(
        ConfigurationError, match=r"^spec\.student\.model: the files lack \d+ of .*, lm_head\.weight among"
    ):
        load_weights(folder, torch.float32)


def test_a_head_that_is_the_embedding_too_is_not_missed(tmp_path: Path) -> None:
    LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=True)).save_pretrained(str(tmp_path))
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    model = load_weights(tmp_path, torch.float32)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_an_image_without_bitsandbytes_says_so(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigurationError, match="this image cannot import bitsandbytes") as caught:
        load_weights(base, torch.float32, "nf4")
    assert caught.value.message.endswith("or set method: LoRA")
