"""This process among those that train one model together: who it is, and what they have to agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from llm2llm.podenv import TRAIN_PROCESSES


def processes(asked: int, visible: int, environ: Mapping[str, str]) -> int:
    """Processes of a training: one for each GPU that was asked for and is there, at least one.

    A laptop without GPUs runs the manifest of a cluster, slower and with the same result.
    """
    return int(environ.get(TRAIN_PROCESSES) or max(1, min(asked, visible)))


@dataclass(frozen=True)
class Ranks:
    """Rank of `size` processes; one alone talks to nobody.

    Every method is a collective: all ranks call it in the same order, or all wait.
    """

    rank: int = 0
    size: int = 1
    control: Any = None
    """A group of its own over gloo: decisions are made on the CPU, and cost the GPU no wait."""

    @classmethod
    def join(cls, rank: int, size: int, rendezvous: Path, patience: float) -> Ranks:
        """Meets the other processes over a file that all of them see; a port would be open to other pods.

        Args:
            patience: seconds that one rank waits for another, e.g. while rank 0 uploads a checkpoint.
        """
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(rank)
        timeout = timedelta(seconds=patience)
        distributed.init_process_group(
            "nccl" if cuda else "gloo",
            init_method=rendezvous.as_uri(),
            rank=rank,
            world_size=size,
            timeout=timeout,
            device_id=torch.device("cuda", rank) if cuda else None,
        )
        return cls(rank, size, distributed.new_group(backend="gloo", timeout=timeout))

    def broadcast(self, *wishes: bool) -> tuple[bool, ...]:
        """What rank 0 wishes: a clock or a signal may be seen by one rank a step before another."""
        if self.size == 1:
            return wishes
        decided = torch.tensor(wishes, dtype=torch.uint8)
        distributed.broadcast(decided, 0, group=self.control)
        return tuple(bool(wish) for wish in decided)

    def all_reduce_min(self, number: int) -> int:
        """The smallest number of any rank."""
        return int(self._reduced(torch.tensor(number), distributed.ReduceOp.MIN))

    def all_reduce_sum(self, shares: torch.Tensor) -> torch.Tensor:
        """Element by element, the sum over the ranks."""
        return self._reduced(shares.detach().cpu().clone(), distributed.ReduceOp.SUM)

    def barrier(self) -> None:
        """Returns once every rank is here."""
        if self.size > 1:
            distributed.barrier(group=self.control)

    def _reduced(self, numbers: torch.Tensor, how: Any) -> torch.Tensor:
        if self.size > 1:
            distributed.all_reduce(numbers, how, group=self.control)
        return numbers
