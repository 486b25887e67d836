"""What the device of this process can compute in."""

from __future__ import annotations


def has_bf16() -> bool:
    """Whether a GPU is there that computes in bf16 itself (compute capability 8 and up).

    PyTorch says yes of older ones as well, on which it emulates bf16 slowly, and vLLM refuses to.
    """
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
