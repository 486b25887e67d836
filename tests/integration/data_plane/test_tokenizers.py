"""Tokenizers as they are published: what Prepare makes of them, and training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from llm2llm.errors import ConfigurationError
from llm2llm.tasks.tokens import load_quickly, load_tokenizer

END = "<|endoftext|>"


def byte_level() -> Tokenizer:
    """A tokenizer of the kind that GPT-2, Llama and Qwen have: one token a byte, and one for the end."""
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate([*alphabet, END])}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([END])
    return tokenizer


def with_files(folder: Path, tokenizer: Tokenizer, files: dict[str, Any]) -> Path:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast"}
AS_OBJECT = {"__type": "AddedToken", "content": END}


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"tokenizer_config.json": {"model_max_length": 1024}}, id="by the model's kind of tokenizer"),
        pytest.param({}, id="by that kind, without a config of the tokenizer"),
        pytest.param(
            {"tokenizer_config.json": GENERIC, "special_tokens_map.json": {"eos_token": END}}, id="in another file"
        ),
        pytest.param({"tokenizer_config.json": GENERIC | {"eos_token": END}}, id="in its config"),
        pytest.param({"tokenizer_config.json": GENERIC | {"eos_token": AS_OBJECT}}, id="there as an object"),
    ],
)
def test_prepare_finds_the_end_of_an_answer_wherever_training_does(tmp_path: Path, files: dict[str, Any]) -> None:
    folder = with_files(tmp_path / "model", byte_level(), {"config.json": {"model_type": "gpt2"}} | files)

    assert load_quickly(folder).eos == load_tokenizer(folder).eos == len(ByteLevel.alphabet())


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    folder = with_files(tmp_path / "model", byte_level(), {"tokenizer_config.json": GENERIC})

    with pytest.raises(ConfigurationError, match="the tokenizer has no EOS token"):
        load_quickly(folder)
