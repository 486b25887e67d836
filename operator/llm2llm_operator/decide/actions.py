"""The result of a decision: the status to write, and what to do in the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llm2llm_operator.build.event import RunEvent
from llm2llm_operator.model.observation import Job
from llm2llm_operator.model.status import RunStatus


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: write the status, create, delete, emit events; reconcile again after `wake_after` s.

    Attributes:
        delete_run: whether to delete the run itself, because its time to live has passed.
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
    """Returns the shortest of the pauses that are set."""
    return min((pause for pause in pauses if pause is not None), default=None)
