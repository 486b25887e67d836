"""The student: a base model with a LoRA adapter; the only module that knows peft on the training side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, set_seed
from transformers.utils.logging import disable_progress_bar

from llm2llm import api_stages
from llm2llm.errors import ConfigurationError
from llm2llm.records import canonical_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
"""Copied from the base byte for byte, so that the adapter describes itself and is the same on every machine."""

Precision = Literal["fp32", "bf16"]


def resolve_precision(asked: Literal["Auto", "fp32", "bf16"]) -> Precision:
    """Auto is bf16 where the device computes in it, else fp32."""
    if asked != "Auto":
        return asked
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def load_base(folder: Path, precision: Precision) -> Any:
    """The base model on the CPU.

    Raises:
        ConfigurationError: its files cannot be loaded.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a pod's log is no terminal
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"spec.student.model: the weights cannot be loaded: {error}") from error
    model.config.use_cache = False
    return model


def with_adapter(base: Any, lora: api_stages.Lora, seed: int) -> Any:
    """The base with a fresh adapter on every linear layer but the output head; `seed` decides its first weights."""
    set_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=float(lora.dropout),
        use_rslora=lora.use_rslora,
        target_modules=lora.target_modules,
    )
    return get_peft_model(base, config)


def with_adapter_of(base: Any, adapter: Path, seed: int) -> Any:
    """The base with an adapter that was trained before, to be trained on (`startFrom: PreviousIteration`)."""
    set_seed(seed)
    return PeftModel.from_pretrained(base, str(adapter), is_trainable=True)


def is_finite(model: Any) -> bool:
    """Whether all trained weights are numbers."""
    return all(bool(torch.isfinite(weight).all()) for weight in model.parameters() if weight.requires_grad)


def save_adapter(model: Any, base: Path, target: Path, *, model_uri: str, revision: str) -> None:
    """Writes the adapter, what its tokenizer needs, and a config without a trace of this machine."""
    # "auto" would ask the hub whether the vocabulary was resized, which no adapter of ours does.
    model.save_pretrained(str(target), safe_serialization=True, save_embedding_layers=False)
    path = target / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = model_uri
    config["revision"] = revision if model_uri.startswith("hf://") else None
    # peft writes a set, in the order of this process's hash seed.
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(canonical_json(config) + "\n")
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, target / name)
