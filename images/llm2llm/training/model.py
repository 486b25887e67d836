"""Loads the student for training and saves the result; the only module on the training side that knows peft."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import set_seed

from llm2llm.api import stages as api_stages
from llm2llm.models.device import has_bf16
from llm2llm.models.files import tokenizer_files
from llm2llm.models.names import loadable_name
from llm2llm.models.weights import load_weights
from llm2llm.records import canonical_json

_SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")

Precision = Literal["fp32", "bf16"]


def resolve_precision(setting: Literal["Auto", "fp32", "bf16"]) -> Precision:
    """Resolves Auto to bf16 if the device computes in it, else to fp32."""
    if setting != "Auto":
        return setting
    return "bf16" if has_bf16() else "fp32"


def load_student(
    base: Path, train: api_stages.Train, precision: Precision, *, seed: int, start: Path | None, trusted: bool = False
) -> Any:
    """Loads the model to be trained, with gradients on exactly the weights that are trained.

    Args:
        base: folder of the base model.
        train: method and adapter settings.
        precision: of the computation. All trained weights are kept in fp32: bf16 loses small updates.
        seed: decides the initial weights of a new adapter, which covers every linear layer but the output head.
        start: adapter or model of the previous iteration, to continue from (`startFrom: PreviousIteration`).
        trusted: whether Python files beside the base may be run.

    Raises:
        ConfigurationError: the weights cannot be loaded.
    """
    if train.method == "Full":
        student = load_weights(start or base, torch.float32, trusted=trusted)
    else:
        student = load_weights(base, _dtype(precision), train.quantization, trusted=trusted)
    student.config.use_cache = False
    set_seed(seed)
    if train.method == "Full":
        return student
    if start:
        return PeftModel.from_pretrained(student, str(start), is_trainable=True)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=train.lora.r,
        lora_alpha=train.lora.alpha,
        lora_dropout=float(train.lora.dropout),
        use_rslora=train.lora.use_rslora,
        target_modules=train.lora.target_modules,
        exclude_modules=_other_towers(student),
    )
    return get_peft_model(student, config)


def _other_towers(student: Any) -> str | None:
    """Returns a pattern of the modules of a multimodal model that no text goes through; None for a language model.

    Its vision and audio towers would get adapters that nothing trains, and that vLLM does not serve.
    """
    if student.config.get_text_config() is student.config:
        return None
    decoder = student.get_decoder()

    def towers(module: torch.nn.Module, prefix: str) -> Iterator[str]:
        for name, child in module.named_children():
            inside = list(child.modules())
            if child is decoder or child is student.get_output_embeddings():
                continue
            if any(part is decoder for part in inside):
                yield from towers(child, f"{prefix}{name}.")
            elif any(isinstance(part, torch.nn.Linear) for part in inside):
                yield re.escape(f"{prefix}{name}")

    found = "|".join(towers(student, ""))
    return rf"({found})(\..*)?" if found else None


def selects_logits(model: Any) -> bool:
    """Returns whether the model computes the logits of just those positions that `logits_to_keep` lists.

    That is transformers' own contract, so it holds for the models of that library alone: one that comes with its own
    Python files may take the argument and know only how many positions to keep.
    """
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    own = type(inner).__module__.startswith("transformers.")
    return own and "logits_to_keep" in inspect.signature(type(inner).forward).parameters


def is_finite(model: Any) -> bool:
    """Returns whether all trained weights are finite."""
    return all(bool(torch.isfinite(weight).all()) for weight in model.parameters() if weight.requires_grad)


def save_adapter(model: Any, base: Path, target: Path, *, model_uri: str, revision: str) -> None:
    """Writes the adapter, its tokenizer's files, and a config that names its base as others can load it.

    Never the folder that the base was trained from: that is this pod's own.
    """
    # "auto" would ask the hub whether the vocabulary was resized, which none of our adapters do.
    model.save_pretrained(str(target), safe_serialization=True, save_embedding_layers=False)
    path = target / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = loadable_name(model_uri)
    config["revision"] = revision if model_uri.startswith("hf://") else None
    # peft writes a set, ordered by this process's hash seed.
    for name in ("target_modules", "target_parameters"):
        if config.get(name):
            config[name] = sorted(config[name])
    path.write_text(canonical_json(config) + "\n")
    _copy_tokenizer(base, target)
    _write_generation_config(base, target)


def save_model(
    model: Any, base: Path, target: Path, *, precision: Precision, weights: dict[str, torch.Tensor] | None = None
) -> None:
    """Writes all weights in the precision of the computation, with the base's own config and tokenizer.

    Args:
        weights: the weights gathered from all ranks, if the model holds only its part of them.
    """
    dtype = _dtype(precision)
    if weights is None:
        model.to(dtype).save_pretrained(str(target), safe_serialization=True)
    else:
        cast = {name: weight.to(dtype) for name, weight in weights.items()}
        model.save_pretrained(str(target), safe_serialization=True, state_dict=cast)
    config = json.loads((base / "config.json").read_text())
    config.pop("torch_dtype", None)  # its name before transformers 5
    config.pop("_name_or_path", None)  # where the base was loaded from when it was saved: transformers 5 omits it, too
    config["dtype"] = str(dtype).removeprefix("torch.")
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    _copy_tokenizer(base, target)
    _write_generation_config(base, target)


def merge_adapter(
    adapter: Path, base: Path, target: Path, precision: Literal["Auto", "fp32", "bf16"], *, trusted: bool = False
) -> Precision:
    """Writes a complete model: the adapter's products added to the weights of its base, in fp32, and rounded once.

    In fp32 it answers as the adapter does on its base (engines/transformers.py merges it, too). In bf16 the rounding of
    the sum loses part of a small change, so some answers differ.

    Args:
        adapter: folder of the adapter.
        base: folder of the model that it was trained on, not quantized.
        target: folder to write to.
        precision: of the weights; Auto: bf16 if the base is in 16 bits.
        trusted: whether Python files beside the base may be run.

    Returns:
        The precision that was chosen.
    """
    if precision == "Auto":
        config = json.loads((base / "config.json").read_text())
        precision = "bf16" if config.get("dtype", config.get("torch_dtype")) in ("bfloat16", "float16") else "fp32"
    student = PeftModel.from_pretrained(load_weights(base, torch.float32, trusted=trusted), str(adapter))
    save_model(student.merge_and_unload(safe_merge=True), base, target, precision=precision)
    return precision


def _dtype(precision: Precision) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _copy_tokenizer(base: Path, target: Path) -> None:
    """Copies the tokenizer byte for byte, so that the result is self-contained and the same on every machine."""
    for name in tokenizer_files(path.name for path in base.iterdir() if path.is_file()):
        shutil.copyfile(base / name, target / name)


def _write_generation_config(base: Path, target: Path) -> None:
    """Writes the generation config that the student is scored with: the base's BOS, EOS and padding tokens, no
    sampling.

    The base's own config may contain a temperature or a penalty, which a server of these files would apply.
    """
    sources = [base / name for name in ("config.json", "generation_config.json")]
    token_ids: dict[str, Any] = {}
    for config in [json.loads(path.read_text()) for path in sources if path.exists()]:
        token_ids |= {name: config[name] for name in _SPECIAL_TOKENS if config.get(name) is not None}
    (target / "generation_config.json").write_text(json.dumps(token_ids | {"do_sample": False}, indent=2) + "\n")
