"""PURE: turns what a step logs into a line that says how far it is; of a run here, and of one on a cluster."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm2llm.loop.outcomes import CLOSING, describe_iteration
from llm2llm.records import Stage
from llm2llm.report.summary import duration


@dataclass(frozen=True)
class Progress:
    """How far a step is.

    Attributes:
        done, total: optimizer steps of a training, rows of another stage.
        loss: of the newest optimizer step.
        seconds_left: as the step estimates it.
    """

    stage: Stage
    iteration: int
    done: int
    total: int
    loss: float | None = None
    seconds_left: float | None = None

    def facts(self) -> list[str]:
        """Returns what there is to say besides the numbers of steps."""
        facts = [f"loss {self.loss:.4g}"] if self.loss is not None else []
        if self.seconds_left is not None and self.done < self.total:
            facts.append(f"{duration(self.seconds_left)} left")
        return facts

    def describe(self, iterations: int = 0) -> str:
        """Returns the line; `iterations`: how many the run has at most, if that is known."""
        where = "" if self.stage is Stage.PREPARE else f"{describe_place(self.iteration, iterations)}, "
        return ", ".join([f"{where}{self.stage.value.lower()} {self.done:,}/{self.total:,}", *self.facts()])


def describe_place(iteration: int, iterations: int) -> str:
    """Returns an iteration with the numbers that there are; they are counted from 0."""
    place = describe_iteration(iteration)
    return place if iterations <= 1 or iteration >= CLOSING else f"{place} of 0-{max(iterations - 1, iteration)}"


def event_of(line: str) -> dict[str, Any] | None:
    """Returns the event that a line of a log is; None for what a library has written."""
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def progress_of(event: Mapping[str, object]) -> Progress | None:
    """Returns how far the step is that logged this event; None if it does not say."""
    done, total = event.get("step"), event.get("steps")
    if not isinstance(done, int) or not isinstance(total, int):
        return None
    try:
        stage = Stage(str(event.get("stage")))
    except ValueError:
        return None
    iteration = event.get("iteration")
    return Progress(
        stage=stage,
        iteration=iteration if isinstance(iteration, int) else 0,
        done=done,
        total=total,
        loss=_number(event.get("loss")),
        seconds_left=_number(event.get("etaSeconds")),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
