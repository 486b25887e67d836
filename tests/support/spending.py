"""Runs that have spent something: teacher tokens, or the time of GPUs."""

from __future__ import annotations

from typing import Any

from llm2llm.records import Usage
from tests.support import builders
from tests.support.world import World, training

GPU = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
PRICES = {"inputPerMillion": "1", "outputPerMillion": "10", "gpuHour": "3"}


def tokens(total: int) -> dict[str, Any]:
    """What a report says of so many teacher tokens."""
    return {"usage": Usage(teacher_requests=1, teacher_input_tokens=total - 10, teacher_output_tokens=10)}


def evaluated(**spec: Any) -> World:
    """A run whose iteration 0 is evaluated; Prepare spent 100 tokens."""
    world = World(spec=builders.spec(**spec))
    world.settle()
    world.succeed(**tokens(100))
    for _ in range(2):
        world.settle()
        world.succeed()
    world.settle()
    return world


def at_generate(**budget: Any) -> World:
    """Such a run that goes on with Generate, under a budget."""
    return evaluated(maxIterations=3, train=GPU, budget=budget)


def training_on(budget: dict[str, Any]) -> World:
    """A run that trains on two GPUs since `builders.NOW`."""
    return training(train=GPU, budget=budget)
