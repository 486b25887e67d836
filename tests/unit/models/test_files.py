"""Which files of a model's folder hold what."""

from __future__ import annotations

from llm2llm.models.files import has_weights, is_weights_of_any_kind, tokenizer_files

TOKENIZER = [
    "added_tokens.json", "chat_template.jinja", "merges.txt", "special_tokens_map.json", "tokenization_own.py",
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.tiktoken",
]  # fmt: skip
OTHERS = [
    "LICENSE.txt", "NOTICE.txt", "README.txt", "USE_POLICY.txt", "adapter_config.json", "config.json",
    "generation_config.json", "llm2llm.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "requirements.txt", "trainer_state.json",
]  # fmt: skip


def test_of_a_bases_files_a_student_takes_what_its_tokenizer_may_want() -> None:
    assert tokenizer_files([*OTHERS, *TOKENIZER]) == TOKENIZER


def test_weights_in_pickles_are_none() -> None:
    assert has_weights(["model-00001-of-00002.safetensors"])
    assert not has_weights(["pytorch_model.bin", "model.safetensors.index.json"])


def test_weights_of_other_kinds_are_weights() -> None:
    weights = [
        "pytorch_model.bin",
        "original/consolidated.00.pth",
        "tf_model.h5",
        "onnx/model.onnx",
        "q4.GGUF",
        "a.safetensors",
    ]
    assert all(map(is_weights_of_any_kind, weights))
    assert not any(map(is_weights_of_any_kind, [*TOKENIZER, "bpe.codes", "vocab.bin", "config.json"]))
