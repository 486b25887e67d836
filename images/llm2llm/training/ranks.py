"""Joins the processes that train one model together, and runs the collectives by which they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from llm2llm.podenv import TRAIN_PROCESSES


def processes(requested: int, visible: int, environ: Mapping[str, str]) -> int:
    """Returns the number of training processes: one for each GPU that was requested and is visible, at least one.

    So a laptop without GPUs runs a cluster's manifest, slower and with the same result.
    """
    return int(environ.get(TRAIN_PROCESSES) or max(1, min(requested, visible)))


@dataclass(frozen=True)
class Ranks:
    """This process's rank among `size` processes; a single process does not communicate.

    Every method is a collective: all ranks call it in the same order, or all wait.
    """

    rank: int = 0
    size: int = 1
    control: Any = None
    """A separate gloo group: decisions are made on the CPU, so that the GPU does not wait for them."""

    @classmethod
    def join(cls, rank: int, size: int, rendezvous: Path, patience: float) -> Ranks:
        """Joins the other processes through a file that all of them see; a port would be open to other pods.

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

    def broadcast(self, *flags: bool) -> tuple[bool, ...]:
        """Returns the flags of rank 0: one rank may see a clock or a signal one step before another."""
        if self.size == 1:
            return flags
        decided = torch.tensor(flags, dtype=torch.uint8)
        distributed.broadcast(decided, 0, group=self.control)
        return tuple(bool(flag) for flag in decided)

    def all_reduce_min(self, number: int) -> int:
        """Returns the smallest number of any rank."""
        return int(self._all_reduce(torch.tensor(number), distributed.ReduceOp.MIN))

    def all_reduce_sum(self, shares: torch.Tensor) -> torch.Tensor:
        """Returns the sum over the ranks, element by element."""
        return self._all_reduce(shares.detach().cpu().clone(), distributed.ReduceOp.SUM)

    def barrier(self) -> None:
        """Returns once every rank is here."""
        if self.size > 1:
            distributed.barrier(group=self.control)

    def _all_reduce(self, numbers: torch.Tensor, how: Any) -> torch.Tensor:
        if self.size > 1:
            distributed.all_reduce(numbers, how, group=self.control)
        return numbers
