"""The loss of an optimizer step, by numbers that are easy to check by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llm2llm.training.data import IGNORED, Collation, TokenizedRow, keep_learned, pack, pad
from llm2llm.training.loss import TokenMean

SURE, HALF = [0.0, -math.inf], [0.0, 0.0]
"""Logits of a position: all for token 0, and one half for each of two tokens."""


def outputs(*rows: list[list[float]]) -> Any:
    return SimpleNamespace(logits=torch.tensor(rows))


def labels(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows)


def test_each_position_is_asked_for_the_next_token() -> None:
    """The last position's logits are for nothing, and the first label is nobody's answer."""
    loss = TokenMean()(outputs([SURE, HALF, SURE]), labels([1, 0, 1]), 2)
    assert loss.item() == pytest.approx(math.log(2) / 2)


def test_what_is_not_learned_counts_neither_as_a_token_nor_as_a_loss() -> None:
    loss = TokenMean()(outputs([HALF, HALF, HALF]), labels([0, IGNORED, 1]), 1)
    assert loss.item() == pytest.approx(math.log(2))


def test_micro_batches_of_a_step_add_up_to_the_mean_over_its_tokens_however_it_is_cut() -> None:
    rows = [([HALF, SURE, HALF], [0, 0, 0]), ([HALF, HALF, HALF], [0, 1, 1]), ([SURE, SURE, SURE], [0, 0, IGNORED])]
    tokens = 5
    whole, parts = TokenMean(), TokenMean()
    for loss in (whole, parts):
        loss.begin_step()
    whole(outputs(*(row for row, _ in rows)), labels(*(label for _, label in rows)), tokens)
    for row, label in rows:
        parts(outputs(row), labels(label), torch.tensor(tokens))

    assert whole.last().item() == pytest.approx(3 * math.log(2) / tokens)
    assert parts.last().item() == pytest.approx(whole.last().item())


def test_every_step_has_its_own_share_and_none_has_one_before_the_first() -> None:
    loss = TokenMean()
    assert loss.shares().tolist() == []
    assert math.isnan(loss.last())
    loss(outputs([HALF, HALF]), labels([0, 0]), 1)  # the trial that finds the micro-batch is no step
    assert loss.shares().tolist() == []
    for number in (1, 2):
        loss.begin_step()
        loss(outputs([HALF, HALF]), labels([0, 0]), number)

    assert loss.shares().tolist() == pytest.approx([math.log(2), math.log(2) / 2])
    assert loss.last() == loss.shares()[-1]


def test_logits_of_16_bits_are_summed_in_32() -> None:
    """In bf16 the sum of many small losses stands still."""
    rows = 4096
    logits = torch.zeros((rows, 2, 2), dtype=torch.bfloat16)
    loss = TokenMean()(SimpleNamespace(logits=logits), torch.zeros((rows, 2), dtype=torch.long), rows)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


def test_logits_of_positions_that_nobody_asked_for_are_no_answer() -> None:
    with pytest.raises(AssertionError, match="logits of 4 positions for 2 targets"):
        TokenMean()(outputs([HALF, HALF, HALF, HALF]), labels([IGNORED, 0, 0]), 2)


@pytest.mark.parametrize("collation", [pad, pack])
def test_loss_and_gradients_are_those_of_the_logits_of_all_positions(collation: Collation) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, use_cache=False
    )
    model: Any = LlamaForCausalLM(config)
    rows = [TokenizedRow(str(size), list(range(1, size + 1)), size // 2) for size in (4, 9, 6)]

    def gradients(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        inputs = {name: torch.tensor(values) for name, values in batch.items()}
        targets = inputs.pop("labels")
        loss = TokenMean()(model(**inputs), targets, int((targets[:, 1:] != IGNORED).sum()))
        torch.autograd.backward(loss)
        return loss.detach(), model.model.layers[0].mlp.up_proj.weight.grad.clone()

    whole, kept = gradients(collation(rows)), gradients(keep_learned(collation(rows)))
    for one, other in zip(whole, kept, strict=True):
        torch.testing.assert_close(one, other)
