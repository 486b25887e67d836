"""What a decision consists of: the status to write, and what to do in the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llm2llm_operator.build.event import RunEvent
from llm2llm_operator.model.observation import Job
from llm2llm_operator.model.status import RunStatus


@dataclass(frozen=True)
class Plan:
    """What to write, in this order: status, create, delete, events; then look again after `wake_after` seconds.

    Attributes:
        delete_run: the run itself goes: its time to live is over.
        confirm_deleted: name of a Job that the cache does not show; it has to be read before it may count as deleted
            (rule C3).
    """

    status: RunStatus
    create: dict[str, Any] | None = None
    delete: tuple[Job, ...] = ()
    events: tuple[RunEvent, ...] = ()
    wake_after: float | None = None
    delete_run: bool = False
    confirm_deleted: str = ""


def earliest(*pauses: float | None) -> float | None:
    """The shortest of the pauses that are set."""
    return min((pause for pause in pauses if pause is not None), default=None)
