"""Reads what a model's config says, and refuses models that could not be trained or would answer nonsense.

It needs no torch: Prepare runs without it. Numbers of a multimodal model are in the config of its language model. Where
a file leaves a number out, the one that its class assumes counts: Gemma 3's files have neither context nor heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from llm2llm.errors import ConfigurationError
from llm2llm.models.causal import CAUSAL_TYPES
from llm2llm.models.folder import read_json

MODEL = "spec.student.model"
_CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_sequence_length",
    "max_seq_length", "seq_len",
)  # fmt: skip
"""Names of the context length in various architectures, including those that vLLM looks for (its
ModelArchConfigConvertorBase).
"""
_UNLIMITED = 10**9
"""Tokenizers without a known limit report 10^30."""
_LANGUAGE_MODEL = ("text_config", "llm_config", "language_config", "decoder", "generator")
"""Where multimodal models keep the config of their language model."""
_CAUSAL = ("ForCausalLM", "LMHeadModel", "WithLMHead", "GenerationDecoder", "DoubleHeadsModel")
_MULTIMODAL = "ForConditionalGeneration"
"""Ends of the names of classes that continue a text; the last one also names encoder-decoders."""
ENCODERS = frozenset(
    {
        "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert",
        "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip
"""Model types that read a text in both directions unless `is_decoder` is set: their loss is low, for every token sees
the one that it has to predict, and their answers are nonsense."""


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model from its config; 0 if it does not say.

    Attributes:
        context: maximum number of tokens, prompt and answer together; at most what its tokenizer allows.
        heads: attention heads of a layer.
        architectures: names of the classes that load it.
        vocabulary: number of tokens that it has an embedding for.
        model_type: of its language model, by transformers' name.
    """

    context: int
    heads: int
    architectures: tuple[str, ...]
    vocabulary: int = 0
    model_type: str = ""


def read_model_info(folder: Path, *, trusted: bool = False) -> ModelInfo:
    """Reads the config of the model in a folder.

    Raises:
        ConfigurationError: the config cannot be read, or its architecture is unknown to the trainer.
    """
    # This module of transformers is only a table; the public way to read it imports torch first.
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    config = read_json(folder / "config.json", MODEL)
    if config.get("model_type") not in CONFIG_MAPPING_NAMES and not (trusted and "auto_map" in config):
        raise ConfigurationError(
            f"{MODEL}: transformers does not know its model_type {config.get('model_type')!r}"
            + (
                ": the model comes with its own code, which runs only if spec.student.trustRemoteCode is true"
                if "auto_map" in config
                else ""
            )
        )
    text = _language_model(config)
    whole = _with_class_defaults(text)
    tokenizer = folder / "tokenizer_config.json"
    limits = [_context(text) or _context(whole)]
    limits += [_count(read_json(tokenizer, MODEL).get("model_max_length"))] if tokenizer.exists() else []
    context = min((number for number in limits if number > 0), default=0)
    return ModelInfo(
        context if context < _UNLIMITED else 0,
        attention_heads(config),
        _architectures(config),
        _count(whole.get("vocab_size")),
        str(text.get("model_type") or config.get("model_type") or ""),
    )


def attention_heads(config: Mapping[str, Any]) -> int:
    """Returns the number of attention heads in a layer of the model with this config; 0 if it is not known."""
    whole = _with_class_defaults(_language_model(config))
    return _count(whole.get("num_attention_heads", whole.get("n_head")))


def _context(config: Mapping[str, Any]) -> int:
    return min((number for name in _CONTEXT if (number := _count(config.get(name))) > 0), default=0)


def check_model(folder: Path) -> None:
    """Checks, before the run waits for a GPU, that the model in a folder continues a text and can be trained.

    Raises:
        ConfigurationError: it is quantized, an encoder, or an encoder-decoder, or its padding token has no embedding.
    """
    config = read_json(folder / "config.json", MODEL)
    text = _language_model(config)
    problem = _problem(config, text, _with_class_defaults(text), _architectures(config))
    if problem:
        raise ConfigurationError(f"{MODEL}: {problem}")


def _architectures(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(map(str, names)) if isinstance(names := config.get("architectures"), list) else ()


def _language_model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the part of a config that describes the language model: all of it, unless the model is multimodal."""
    if "vocab_size" in config:
        return config
    return next((config[name] for name in _LANGUAGE_MODEL if isinstance(config.get(name), dict)), config)


def _with_class_defaults(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a config with what its class assumes where the file says nothing, and with the names that all classes
    share beside a class's own (`num_attention_heads` is `n_head` to GPT-2). A class of the model's own adds nothing.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return config
    config_class = CONFIG_MAPPING[model_type]
    try:
        defaults: dict[str, Any] = config_class().to_dict()
    except Exception:  # noqa: BLE001 - a class that cannot be made without arguments has no defaults
        return config
    names = {name: own for name, own in config_class.attribute_map.items() if own in defaults}
    shared = {name: config.get(own, config.get(name, defaults[own])) for name, own in names.items()}
    return {**defaults, **config, **shared}


def _problem(
    config: Mapping[str, Any], text: Mapping[str, Any], whole: Mapping[str, Any], architectures: tuple[str, ...]
) -> str:
    """Returns why a model cannot be trained to continue a text, and what to do; '' if it can."""
    quantized = config.get("quantization_config") or text.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        return (
            f"its weights are quantized already ({method or 'quantization_config'}), and cannot be trained: use the "
            "model that they were made from; train.method: QLoRA quantizes it"
        )
    if config.get("is_encoder_decoder", whole.get("is_encoder_decoder")):
        return f"it is an encoder-decoder ({config.get('model_type')}), and only causal language models can be trained"
    own = config.get("auto_map")
    causal = own.get("AutoModelForCausalLM") if isinstance(own, dict) else None
    if not causal and config.get("model_type") not in CAUSAL_TYPES:
        return (
            f"transformers does not load the type {config.get('model_type')} as a causal language model: use the "
            "language model alone, if it is published, or another one"
        )
    if architectures and not causal and not any(_continues_text(name, text is not config) for name in architectures):
        return (
            f"its architecture {', '.join(architectures)} does not continue a text: use a causal language model, whose "
            "config.json names a class that ends with ForCausalLM"
        )
    if text.get("model_type") in ENCODERS and not text.get("is_decoder"):
        return (
            f"it is an encoder ({text.get('model_type')}), which reads a text in both directions: use a causal "
            "language model"
        )
    padding, vocabulary = whole.get("pad_token_id"), whole.get("vocab_size")
    if _is_count(padding) and _is_count(vocabulary) and padding >= vocabulary:
        if "pad_token_id" not in text:
            return (
                f"config.json has no pad_token_id, which then is {padding}, but vocab_size {vocabulary}: set "
                "pad_token_id there to null, or to the id of a token"
            )
        return (
            f"config.json has pad_token_id {padding}, but vocab_size {vocabulary}: remove pad_token_id, or resize the "
            "model's embeddings"
        )
    return ""


def _continues_text(architecture: str, multimodal: bool) -> bool:
    return any(end in architecture for end in _CAUSAL) or (multimodal and architecture.endswith(_MULTIMODAL))


def check_vocabulary(ids: list[list[int]], vocabulary: int) -> None:
    """Checks that the model knows these special tokens: an unknown one causes an index error, or a dead GPU.

    Args:
        ids: token ids.
        vocabulary: number of tokens that the model has an embedding for; 0 if it is not known.

    Raises:
        ConfigurationError: one is beyond the model's vocabulary.
    """
    highest = max((max(row, default=0) for row in ids), default=0)
    if 0 < vocabulary <= highest:
        raise ConfigurationError(
            f"{MODEL}: the tokenizer has a special token {highest}, but the model's vocab_size is {vocabulary}: it "
            "belongs to another model, or tokens were added to it; resize the model's embeddings, or remove that token"
        )


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> int:
    return value if _is_count(value) else 0
