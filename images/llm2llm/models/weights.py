"""Loads a causal language model's weights onto the device, in the same way for training and evaluation.

This is the only module that knows quantization. QLoRA's base is nf4 with double quantization (Dettmers et al., 2023,
QLoRA, section 3), and an adapter learns to compensate for its errors, so evaluating the adapter needs the same base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils.logging import disable_progress_bar

from llm2llm.errors import ConfigurationError

Quantization = Literal["none", "nf4"]


def load_weights(
    folder: Path, dtype: torch.dtype, quantization: Quantization = "none", *, trusted: bool = False
) -> Any:
    """Loads the model in a folder: onto the CPU, or, if it is quantized, onto the device of this process.

    Args:
        folder: in the Hugging Face format.
        dtype: of the weights or, if they are quantized, of the computation.
        quantization: nf4 for the linear layers of a QLoRA base; its output head and embedding stay as they are.
        trusted: whether Python files in the folder may be run (`spec.student.trustRemoteCode`).

    Raises:
        ConfigurationError: the files cannot be loaded or lack weights, or this image has no bitsandbytes.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a pod's log is no terminal
    if quantization == "nf4":
        # Quantized from the numbers in the files, whatever the dtype of the computation: vLLM does so, too, and the
        # bases are the same.
        options = {"dtype": "auto", "quantization_config": _nf4(dtype), "device_map": {"": _device()}}
    else:
        options = {"dtype": dtype}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trusted, output_loading_info=True, **options
        )
    except ImportError as error:
        raise ConfigurationError(f"spec.train.method: {error}") from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigurationError(f"spec.student.model: the weights cannot be loaded: {error}") from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):  # transformers makes them up at random, with a warning
        raise ConfigurationError(
            f"spec.student.model: the files lack {len(missing)} of the model's weights, {missing[0]} among them: use "
            "a checkpoint of the whole causal language model"
        )
    for weight in model.parameters():
        if weight.is_floating_point():  # the packed 4 bits are not numbers
            weight.data = weight.data.to(dtype)
    return model


def _nf4(dtype: torch.dtype) -> Any:
    try:
        import bitsandbytes  # noqa: F401 - transformers' own check says less
    except ImportError as error:
        raise ConfigurationError(
            f"spec.train.method is QLoRA, but this image cannot import bitsandbytes ({error}): use the trainer and "
            "the evaluator image of this release, or set method: LoRA"
        ) from error
    config: Any = BitsAndBytesConfig
    return config(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _device() -> str:
    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
