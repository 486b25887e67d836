"""Computes the loss of a training: the mean over the tokens of an optimizer step, however that step is cut."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from llm2llm.training.data import IGNORED


class TokenMean:
    """The loss: cross entropy, summed over a micro-batch and divided by the tokens of its whole optimizer step.

    So the sum over a step's micro-batches, on all ranks, is the mean over its tokens, however the step is cut. The
    logits of a position are for the next label: those of the last position are for none, and may be missing
    (data.keep_learned).
    """

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        if num_items_in_batch is None:
            raise AssertionError("Trainer counts the tokens of a step for a loss function that is given to it")
        targets = labels[:, 1:]
        if outputs.logits.shape[1] - targets.shape[1] not in (0, 1):
            raise AssertionError(
                f"the model computed logits of {outputs.logits.shape[1]} positions for {targets.shape[1]} targets"
            )
        logits = outputs.logits[:, : targets.shape[1]].float().flatten(0, 1)
        targets = targets.flatten().to(logits.device)
        loss = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum") / num_items_in_batch
        if self._steps:
            self._steps[-1] = self._steps[-1] + loss.detach()
        return loss

    def begin_step(self) -> None:
        """Begins the next optimizer step, which all further losses belong to."""
        self._steps.append(torch.zeros(()))

    def shares(self) -> torch.Tensor:
        """Returns this rank's share of the loss of every step so far."""
        return torch.stack([share.cpu() for share in self._steps]) if self._steps else torch.zeros(0)

    def last(self) -> torch.Tensor:
        """Returns this rank's share of the last step's loss."""
        return self._steps[-1] if self._steps else torch.tensor(math.nan)
