"""Answers that are drawn rather than the most likely ones, each row by a seed of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch


class SeededSampling:
    """A logits processor that leaves each row one token, drawn from softmax(logits / temperature).

    transformers draws a whole batch from one stream, so that an answer would depend on which rows share its batch.
    Here each row has its own: the k-th token is the one in which the k-th number of the row's stream falls on the
    cumulated probabilities (inversion; Devroye, 1986, Non-Uniform Random Variate Generation, ch. II.2).

    Args:
        seeds: of the rows of a batch, in its order.
        width: tokens of the (padded) prompts.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, width: int, max_new_tokens: int) -> None:
        streams = [random.Random(seed) for seed in seeds]  # noqa: S311
        self._draws = torch.tensor([[stream.random() for _ in range(max_new_tokens)] for stream in streams])
        self._temperature = temperature
        self._width = width

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores in which the drawn token is the only one left."""
        cumulated = torch.softmax(scores.float() / self._temperature, dim=-1).cumsum(dim=-1)
        draws = self._draws[:, input_ids.shape[1] - self._width].to(scores.device)
        # Rounding may leave the sum below 1: a draw is a share of what there is, and the last token is the last.
        drawn = torch.searchsorted(cumulated, draws[:, None] * cumulated[:, -1:], right=True)
        left = torch.full_like(scores, -torch.inf)
        return left.scatter(-1, drawn.clamp(max=scores.shape[-1] - 1), 0.0)  # type: ignore[return-value]
