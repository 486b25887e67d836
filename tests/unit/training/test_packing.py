"""Whether rows may lie one behind another; how models behave that mix them is tested with real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llm2llm.training.data import TokenizedRow
from llm2llm.training.packing import has_varlen_attention, isolates_rows

ROWS = [TokenizedRow("a", [3, 4, 5], 1), TokenizedRow("b", [6, 7], 1)]


@pytest.mark.parametrize(
    ("kernel", "pays"),
    [("flash_attention_2", True), ("flash_attention_3", True), ("sdpa", False), ("eager", False), ("flex_attention", False)],
)  # fmt: skip
def test_only_flash_attention_costs_no_more_for_rows_that_lie_together(kernel: str, pays: bool) -> None:
    assert has_varlen_attention(SimpleNamespace(config=SimpleNamespace(_attn_implementation=kernel))) is pays


class Model(torch.nn.Module):
    """Adds to each id those before it in its row, and a `leak` of those of the rows before; notes how it was asked."""

    def __init__(self, leak: float = 0.0) -> None:
        super().__init__()
        self.leak = leak
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.quantized = torch.nn.Linear(1, 1)
        self.quantized.weight.quant_state = "nf4"  # type: ignore[attr-defined]
        self.config = SimpleNamespace(use_cache=False)
        self.modes: set[tuple[bool, bool]] = set()

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> Any:
        self.modes.add((self.training, self.quantized.training))
        before = input_ids.cumsum(1) - input_ids
        others = torch.where(position_ids == 0, before, 0).cummax(1).values
        return SimpleNamespace(logits=(input_ids + before - others + self.leak * others).unsqueeze(-1))


@pytest.mark.parametrize(
    ("leak", "precision", "isolated"),
    [
        pytest.param(0.0, "fp32", True, id="a row sees itself alone"),
        pytest.param(1.0, "fp32", False, id="it sees the row before it as well"),
        pytest.param(1.0, "bf16", False, id="and in bf16"),
        pytest.param(0.01, "bf16", True, id="as much as bf16 rounds"),
        pytest.param(0.01, "fp32", False, id="which is much in fp32"),
    ],
)
def test_a_model_that_lets_a_row_see_the_one_before_it_is_found_out(
    leak: float, precision: Any, isolated: bool
) -> None:
    assert isolates_rows(Model(leak), ROWS, precision) is isolated


def test_a_cache_is_never_trusted() -> None:
    """With one transformers leaves the block mask out."""
    model = Model()
    model.config.use_cache = None  # type: ignore[assignment]
    assert not isolates_rows(model, ROWS, "fp32")


@pytest.mark.parametrize("training", [True, False])
def test_the_trial_is_without_dropout_leaves_layers_of_4_bits_as_they_train_and_the_model_as_it_was(
    training: bool,
) -> None:
    """In eval mode such a layer repacks its weights on some CPUs."""
    model = Model().train(training)
    isolates_rows(model, ROWS, "fp32")
    assert model.modes == {(False, True)}
    assert model.training is training
    assert model.weight.grad is None
