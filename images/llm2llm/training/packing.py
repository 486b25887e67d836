"""Tests whether rows that are concatenated into one sequence stay isolated from each other.

transformers builds a block mask from restarting position ids, but only for models whose mask is made by its own
functions, without an attention mask and without a cache; otherwise each row silently sees the rows before it (seen in
5.19: with `use_cache` the logits of a second row were off by more than their own size). So it is tested, not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from llm2llm.training.data import TokenizedRow, pack
from llm2llm.training.model import Precision

_TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}
"""Share of the norm of a row's logits: rounding stays far below it, another row's tokens go far beyond."""


def has_varlen_attention(model: Any) -> bool:
    """Returns whether attention over such a sequence costs no more than over each row: flash attention knows the rows.

    Other kernels use a mask with the square of all tokens: on a CPU, micro-batches of two rows of similar length were
    up to 1.9 times as fast (benchmarks/training_rate.py).
    """
    return str(model.config._attn_implementation).startswith("flash")  # noqa: SLF001 - there is no public name


def isolates_rows(model: Any, rows: Sequence[TokenizedRow], precision: Precision) -> bool:
    """Returns whether the second of two rows gets the same logits as alone, on the device that trains."""
    if model.config.use_cache is not False:
        return False
    if torch.cuda.is_available():
        model.to("cuda")
    first, second = rows[0], rows[-1]
    was_training = model.training
    model.eval()  # no dropout
    for module in model.modules():
        # In eval mode a 4-bit layer repacks its weights on some CPUs, for a kernel that has no gradient
        # (bitsandbytes 0.50, Linear4bit.forward), and keeps them so.
        if hasattr(getattr(module, "weight", None), "quant_state"):
            module.training = True
    try:
        with torch.no_grad():
            alone = _logits(model, [second], precision)
            behind = _logits(model, [first, second], precision)[len(first.ids) :]
    finally:
        model.train(was_training)
    return bool(torch.linalg.norm(behind - alone) <= _TOLERANCE[precision] * torch.linalg.norm(alone))


def _logits(model: Any, rows: Sequence[TokenizedRow], precision: Precision) -> torch.Tensor:
    batch = {name: torch.tensor(values, device=model.device) for name, values in pack(rows).items()}
    del batch["labels"]
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits: torch.Tensor = model(**batch).logits[0].float()
    return logits
