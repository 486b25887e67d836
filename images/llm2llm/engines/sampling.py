"""Samples answers with a seed per row, for transformers."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch


class SeededSampling:
    """A logits processor that leaves each row one token, sampled from softmax(logits / temperature).

    transformers samples a whole batch from one random stream, so an answer would depend on which rows share its batch.
    Here each row has its own stream: the k-th token is the one whose interval of cumulated probabilities contains the
    k-th number of the stream (inversion; Devroye, 1986, Non-Uniform Random Variate Generation, ch. II.2).

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
        """Returns scores that leave only the sampled token."""
        cumulated = torch.softmax(scores.float() / self._temperature, dim=-1).cumsum(dim=-1)
        draws = self._draws[:, input_ids.shape[1] - self._width].to(scores.device)
        # Rounding may leave the sum below 1, so a draw is scaled to the actual sum, and clamped to the last token.
        sampled = torch.searchsorted(cumulated, draws[:, None] * cumulated[:, -1:], right=True)
        only_sampled = torch.full_like(scores, -torch.inf)
        return only_sampled.scatter(-1, sampled.clamp(max=scores.shape[-1] - 1), 0.0)  # type: ignore[return-value]
