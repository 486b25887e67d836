"""What is decided between two optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llm2llm.errors import MetricInvalid
from llm2llm.training.callback import CheckpointCallback, Hooks
from llm2llm.training.loss import TokenMean
from llm2llm.training.plan import TrainingPlan
from llm2llm.training.ranks import Ranks

STEPS = 4
SECONDS = 10.0
"""Of a step."""


@dataclass
class Training:
    """Steps of ten seconds each, of whose losses some are no number."""

    interval: float = 1e9
    first: int = 0
    broken: Sequence[int] = ()
    stopping: Event = field(default_factory=Event)
    events: list[Mapping[str, object]] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    now: float = 1000.0

    def save(self, _: Path, step: int, __: int) -> Future[None]:
        self.saved.append(step)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def run(self, sigterm: int = 0) -> bool:
        """Whether it was stopped before its end; SIGTERM comes within step `sigterm`."""
        loss, plan = TokenMean(), TrainingPlan([5] * 8, batch=2, steps=STEPS, seed=0, micro_batch=2)
        hooks = Hooks(self.save, self.stopping, self.events.append, lambda: self.now, self.interval)
        durable = CheckpointCallback(loss, plan, hooks, Ranks())
        arguments, state = SimpleNamespace(output_dir="unused"), SimpleNamespace(global_step=self.first)
        durable.on_train_begin(arguments, state, None)
        for step in range(self.first + 1, STEPS + 1):
            control: Any = SimpleNamespace(should_training_stop=False, should_save=False)
            durable.on_step_begin(arguments, state, control)
            logits = torch.full((1, 2, 3), math.nan if step in self.broken else 1.0)
            loss(SimpleNamespace(logits=logits), torch.tensor([[0, 1]]), 1)
            self.now += SECONDS
            if step == sigterm:
                self.stopping.set()
            state.global_step = step
            durable.on_step_end(arguments, state, control)
            if control.should_save:
                durable.on_save(arguments, state, control)
            if control.should_training_stop:
                break
        return durable.stopped


def test_sigterm_ends_it_after_the_step_with_a_checkpoint() -> None:
    training = Training()
    assert training.run(sigterm=2)
    assert training.saved == [2]


def test_sigterm_within_the_last_step_stops_nothing() -> None:
    training = Training()
    assert not training.run(sigterm=STEPS)
    assert training.saved == []
    assert training.events[-1]["step"] == STEPS


def test_checkpoints_are_taken_by_interval_and_not_at_the_end() -> None:
    training = Training(interval=2 * SECONDS)
    training.run()
    assert training.saved == [1, 2, 3]


def test_no_checkpoint_is_made_of_a_training_that_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm2llm.training.callback._PROGRESS_SECONDS", 1e9)
    training = Training(broken=[2])
    with pytest.raises(MetricInvalid, match="not a number after step 2"):
        training.run(sigterm=2)
    assert training.saved == []


@pytest.mark.parametrize("first", [0, 2])
def test_the_rate_is_that_of_this_process_wherever_it_began(first: int) -> None:
    training = Training(first=first)
    training.run()
    assert [event["step"] for event in training.events] == list(range(first + 1, STEPS + 1))
    assert {event["rowsPerSecond"] for event in training.events} == {2 / SECONDS}
    assert [event["etaSeconds"] for event in training.events] == [SECONDS * left for left in range(STEPS - first)][::-1]
