"""Builds Events on the run: one for each transition that a person would want to read about. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llm2llm.api.run import API_VERSION, KIND
from llm2llm.plaintext import plain
from llm2llm_operator.constants import OPERATOR
from llm2llm_operator.model.run import Run


@dataclass(frozen=True)
class RunEvent:
    """An Event on the run, for people; written once, after the status that it reports."""

    type: str
    reason: str
    message: str


def event_body(run: Run, event: RunEvent, now: datetime) -> dict[str, Any]:
    """Builds a v1 Event. Its name is a hash of its content, so repeating a pass after a crash does not repeat the
    Event.
    """
    digest = hashlib.sha256(f"{run.uid}{event.reason}{event.message}".encode()).hexdigest()[:16]
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{run.name}.{digest}", "namespace": run.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": run.name,
            "namespace": run.namespace,
            "uid": run.uid,
        },
        "type": event.type,
        "reason": str(event.reason),
        "message": plain(event.message)[:1024],
        "source": {"component": OPERATOR},
        "reportingComponent": OPERATOR,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
