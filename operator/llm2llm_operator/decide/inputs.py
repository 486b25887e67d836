"""What a decision is made from and what it consists of: the vocabulary of `decide/plan.py` and `decide/attempt.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.decide import history as st
from llm2llm_operator.model.observation import Event, Job, Observation
from llm2llm_operator.model.status import Run, RunStatus


@dataclass(frozen=True)
class RunEvent:
    """An Event on the run, for people: written once, after the status that it tells of."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to write, in this order: status, create, delete, events; then look again after `wake_after` seconds."""

    status: RunStatus
    create: dict[str, Any] | None = None
    delete: tuple[Job, ...] = ()
    notes: tuple[RunEvent, ...] = ()
    wake_after: float | None = None
    delete_run: bool = False
    """The run itself: its time after its end is over."""
    confirm_deleted: str = ""
    """Name of a Job that the cache does not show: it has to be read before it may count as deleted (rule C3)."""


@dataclass(frozen=True)
class Inputs:
    """What a decision may depend on, gathered once."""

    run: Run
    spec: AugmentationRunSpec
    seen: Observation
    now: datetime
    images: dict[str, str]
    backoff_base: float
    confirmed_deleted: frozenset[str] = frozenset()
    """Names of Jobs that a read found missing."""
    events: tuple[Event, ...] = ()
    """What the cluster told about a Job that does not start, where somebody looked."""

    def seconds_since(self, moment: str) -> float:
        """Seconds from an RFC 3339 time of status until now; never negative, whatever the clocks say (fault 39)."""
        return max(0.0, (self.now - datetime.fromisoformat(moment)) / timedelta(seconds=1)) if moment else 0.0


def with_condition(
    facts: Inputs, status: RunStatus, kind: str, value: bool, reason: str, message: str = ""
) -> RunStatus:
    """The status with one condition set, at the time and generation of these facts."""
    return st.with_condition(status, kind, value, reason, message, now=facts.now, generation=facts.run.generation)


def progress(facts: Inputs, status: RunStatus, reason: str, message: str, *, value: bool) -> RunStatus:
    """The status with the condition Progressing and the message beside it."""
    return st.progressing(status, reason, message, value=value, now=facts.now, generation=facts.run.generation)


def earliest(*pauses: float | None) -> float | None:
    """The shortest of the pauses that are set."""
    return min((pause for pause in pauses if pause is not None), default=None)
