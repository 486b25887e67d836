from __future__ import annotations

from collections import Counter

import pytest
import torch

from llm2llm.engines.sampling import SeededSampling

LOGITS = torch.log(torch.tensor([0.5, 0.3, 0.2]))


def drawn(rows: int, temperature: float) -> Counter[int]:
    processor = SeededSampling(range(rows), temperature, width=1, max_new_tokens=1)
    left = processor(torch.zeros((rows, 1), dtype=torch.long), LOGITS.expand(rows, 3).clone())  # type: ignore[arg-type]
    assert (left > -torch.inf).sum() == rows
    return Counter(left.argmax(dim=-1).tolist())


@pytest.mark.parametrize(
    ("temperature", "shares"),
    [
        pytest.param(1.0, [0.5, 0.3, 0.2], id="at 1 as the model says"),
        pytest.param(0.5, [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38], id="below 1 the likely ones more often"),
        pytest.param(0.02, [1.0, 0.0, 0.0], id="near 0 the most likely one"),
    ],
)
def test_tokens_are_drawn_in_their_proportions(temperature: float, shares: list[float]) -> None:
    counts = drawn(4000, temperature)
    assert [counts[token] / 4000 for token in range(3)] == pytest.approx(shares, abs=0.025)


def test_a_row_draws_the_same_in_any_batch_and_another_token_next() -> None:
    wide = SeededSampling([1, 2, 3], 1.0, width=2, max_new_tokens=8)
    alone = SeededSampling([3], 1.0, width=5, max_new_tokens=8)
    flat = torch.zeros((1, 1000))
    tokens = []
    for place in range(8):
        ids = torch.zeros((3, 2 + place), dtype=torch.long)
        first = wide(ids, flat.expand(3, 1000).clone())[2].argmax()  # type: ignore[arg-type]
        second = alone(torch.zeros((1, 5 + place), dtype=torch.long), flat.clone())[0].argmax()  # type: ignore[arg-type]
        assert first == second
        tokens.append(int(first))
    assert len(set(tokens)) > 4
