"""What a model's config says, and which models could not be trained or would answer nonsense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm2llm.errors import ConfigurationError
from llm2llm.models.causal import CAUSAL_TYPES
from llm2llm.models.info import attention_heads, check_model, check_vocabulary, read_model_info

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 575, "max_position_embeddings": 64,
    "num_attention_heads": 2, "pad_token_id": 0,
}  # fmt: skip
GEMMA = {
    "model_type": "gemma3",
    "architectures": ["Gemma3ForConditionalGeneration"],
    "vision_config": {"hidden_size": 16, "num_attention_heads": 3},
    "text_config": {
        "model_type": "gemma3_text", "vocab_size": 575, "max_position_embeddings": 64, "num_attention_heads": 2,
    },
}  # fmt: skip


def model(folder: Path, config: dict[str, Any], **files: Any) -> Path:
    for name, content in {"config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_the_numbers_of_a_model_are_those_of_its_config(tmp_path: Path):
    info = read_model_info(model(tmp_path, LLAMA))
    assert (info.context, info.heads, info.vocabulary, info.model_type) == (64, 2, 575, "llama")
    assert info.architectures == ("LlamaForCausalLM",)
    limited = read_model_info(model(tmp_path, LLAMA, tokenizer_config={"model_max_length": 32}))
    assert limited.context == 32
    unlimited = read_model_info(model(tmp_path, LLAMA, tokenizer_config={"model_max_length": 10**30}))
    assert unlimited.context == 64


def test_the_numbers_of_a_multimodal_model_are_those_of_its_language_model(tmp_path: Path):
    info = read_model_info(model(tmp_path, GEMMA))
    assert (info.context, info.heads, info.vocabulary, info.model_type) == (64, 2, 575, "gemma3_text")
    check_model(tmp_path)


def test_what_a_config_leaves_out_is_what_its_class_assumes(tmp_path: Path):
    assert read_model_info(model(tmp_path, {"model_type": "gpt2"})).vocabulary == 50257
    small = read_model_info(model(tmp_path, {"model_type": "gpt2", "n_positions": 64, "n_head": 2, "vocab_size": 9}))
    assert (small.context, small.heads, small.vocabulary) == (64, 2, 9)
    odd = read_model_info(model(tmp_path, LLAMA | {"max_position_embeddings": "many", "num_attention_heads": True}))
    assert (odd.context, odd.heads) == (0, 0)


@pytest.mark.parametrize(
    ("config", "context", "heads"),
    [
        pytest.param({"model_type": "gpt2"}, 1024, 12, id="under its own names"),
        pytest.param({"model_type": "bloom", "seq_length": 64}, 64, 8, id="the context is there"),
        pytest.param({"model_type": "llama", "num_attention_heads": 6}, 2048, 6, id="the heads are there"),
        pytest.param({"model_type": "gpt_neo", "num_heads": 4}, 2048, 4, id="the heads are there under an own name"),
        pytest.param({"model_type": "mpt", "max_seq_len": 64, "n_heads": 4}, 64, 4, id="both are"),
        pytest.param({"model_type": "mamba"}, 0, 0, id="it has neither"),
        pytest.param({"model_type": "mamba2"}, 0, 0, id="its heads are no attention heads"),
        pytest.param(
            {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560}}, 131072, 8,
            id="a part of a multimodal model, as Gemma 3 4B is published",
        ),
    ],
)  # fmt: skip
def test_context_and_heads_that_a_config_leaves_out_are_those_of_its_class(
    tmp_path: Path, config: dict[str, Any], context: int, heads: int
):
    info = read_model_info(model(tmp_path, config))
    assert (info.context, info.heads) == (context, heads)
    assert attention_heads(config) == heads


def test_the_tokenizer_limits_a_context_that_the_config_leaves_out(tmp_path: Path):
    assert (
        read_model_info(model(tmp_path, {"model_type": "gpt2"}, tokenizer_config={"model_max_length": 32})).context
        == 32
    )


def test_the_heads_of_a_type_are_what_transformers_takes_them_for():
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    for model_type in sorted(CAUSAL_TYPES - {"musicgen", "musicgen_melody"}):  # whose classes need arguments
        config = CONFIG_MAPPING[model_type]()
        if config.get_text_config() is config:
            heads = getattr(config, "num_attention_heads", 0)
            found = attention_heads({"model_type": model_type})
            assert (model_type, found) == (model_type, heads if isinstance(heads, int) else 0)


@pytest.mark.parametrize(
    "config",
    [
        LLAMA,
        {**LLAMA, "architectures": None},
        {**LLAMA, "pad_token_id": -1},
        {**LLAMA, "pad_token_id": 574},
        {"model_type": "phi3", "vocab_size": 575, "pad_token_id": None},
        {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
        {"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True},
        {"model_type": "own", "architectures": ["OwnModel"], "auto_map": {"AutoModelForCausalLM": "own.OwnModel"}},
        {"model_type": "mamba", "architectures": ["MambaForCausalLM"]},
        GEMMA,
    ],
)
def test_a_model_that_continues_a_text_is_taken(tmp_path: Path, config: dict[str, Any]):
    check_model(model(tmp_path, config))


QUANTIZED = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param(LLAMA | {"quantization_config": QUANTIZED}, r"quantized already \(gptq\).*QLoRA quantizes", id="GPTQ"),
        pytest.param(LLAMA | {"quantization_config": {"quant_method": "awq"}}, r"quantized already \(awq\)", id="AWQ"),
        pytest.param(LLAMA | {"quantization_config": {"load_in_4bit": True}}, "quantized already", id="4 bits"),
        pytest.param(
            GEMMA | {"text_config": GEMMA["text_config"] | {"quantization_config": {"quant_method": "fp8"}}},  # type: ignore[operator]
            r"quantized already \(fp8\)", id="a quantized part",
        ),
        pytest.param(
            LLAMA | {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]},
            r"an encoder-decoder \(t5\)", id="T5, by what its class assumes",
        ),
        pytest.param(
            {"model_type": "bart", "architectures": ["BartForCausalLM"], "is_encoder_decoder": True},
            "an encoder-decoder", id="BART, whose name ends well",
        ),
        pytest.param(
            LLAMA | {"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]},
            "architecture RobertaForMaskedLM does not continue a text", id="RoBERTa",
        ),
        pytest.param(
            {"model_type": "roberta", "architectures": ["RobertaForCausalLM"]},
            r"an encoder \(roberta\), which reads a text in both directions", id="RoBERTa under a better name",
        ),
        pytest.param({"model_type": "bert"}, r"an encoder \(bert\)", id="BERT without a name"),
        pytest.param(
            LLAMA | {"architectures": ["LlamaForSequenceClassification"]}, "does not continue a text", id="a classifier",
        ),
        pytest.param(LLAMA | {"architectures": ["LlamaModel"]}, "does not continue a text", id="a model without a head"),
        pytest.param(LLAMA | {"pad_token_id": 575}, "pad_token_id 575, but vocab_size 575", id="padding beyond the end"),
        pytest.param(
            {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "pad_token_id": 50257},
            "pad_token_id 50257, but vocab_size 50257", id="padding that was added to GPT-2's tokenizer",
        ),
        pytest.param(
            {"model_type": "phi3", "vocab_size": 575},
            "has no pad_token_id, which then is 32000, but vocab_size 575: set pad_token_id there", id="padding by default",
        ),
    ],
)  # fmt: skip
def test_fault_60_a_model_that_cannot_be_trained_to_continue_a_text_is_told(
    tmp_path: Path, config: dict[str, Any], words: str
):
    with pytest.raises(ConfigurationError, match=rf"^spec\.student\.model: .*{words}"):
        check_model(model(tmp_path, config))


def test_an_architecture_that_nobody_knows_is_told(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"does not know its model_type 'own'$"):
        read_model_info(model(tmp_path, {"model_type": "own"}))
    own = model(tmp_path, {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}})
    with pytest.raises(ConfigurationError, match=r"runs only if spec.student.trustRemoteCode is true"):
        read_model_info(own)
    assert read_model_info(own, trusted=True).vocabulary == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_a_config_that_cannot_be_read_is_told(tmp_path: Path, text: str):
    (tmp_path / "config.json").write_text(text)
    for read in (read_model_info, check_model):
        with pytest.raises(ConfigurationError, match=r"config\.json (cannot be read|is not a JSON object)"):
            read(tmp_path)


def test_special_tokens_beyond_the_vocabulary_are_refused():
    check_vocabulary([[1, 4], [], [2]], 5)
    check_vocabulary([[1, 400]], 0)
    with pytest.raises(ConfigurationError, match="a special token 5, but the model's vocab_size is 5"):
        check_vocabulary([[1], [5, 2]], 5)


@pytest.mark.parametrize("model_type", ["mistral3", "llava", "qwen2_5_vl", "paligemma", "vit"])
def test_a_type_that_is_not_loaded_as_a_causal_model_is_told(tmp_path: Path, model_type: str):
    text = {"model_type": "mistral", "vocab_size": 1000, "num_attention_heads": 8}
    for more in ({"architectures": ["XForConditionalGeneration"], "text_config": text}, {}):
        with pytest.raises(ConfigurationError, match=f"does not load the type {model_type} as a causal language model"):
            check_model(model(tmp_path, {"model_type": model_type, **more}))
