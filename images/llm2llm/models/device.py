"""Finds out what the device of this process can compute in, and with how many threads."""

from __future__ import annotations

import os

from llm2llm.runtime.cpus import usable_cpus

_THREADS = "OMP_NUM_THREADS"


def has_bf16() -> bool:
    """Returns whether there is a GPU with native bf16 (compute capability 8 and up).

    PyTorch says yes for older ones, too, on which it emulates bf16 slowly, and vLLM refuses to run.
    """
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def limit_threads(processes: int = 1) -> int:
    """Lets torch compute with no more threads than this process may use CPUs, and returns their number.

    OMP_NUM_THREADS, where it is set, decides instead.

    Args:
        processes: how many of them share the CPUs.
    """
    import torch

    if _THREADS not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cpus() // processes)))
    return torch.get_num_threads()
