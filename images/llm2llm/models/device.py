"""Finds out what the device of this process can compute in."""

from __future__ import annotations


def has_bf16() -> bool:
    """Returns whether there is a GPU with native bf16 (compute capability 8 and up).

    PyTorch says yes for older ones, too, on which it emulates bf16 slowly, and vLLM refuses to run.
    """
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
