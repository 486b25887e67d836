"""Events on the run: one for each transition that a person would want to read. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from llm2llm.api.run import API_VERSION, KIND
from llm2llm_operator.constants import OPERATOR
from llm2llm_operator.model.status import Run

if TYPE_CHECKING:
    from llm2llm_operator.decide.inputs import RunEvent


def event_body(run: Run, note: RunEvent, now: datetime) -> dict[str, Any]:
    """A v1 Event. Its name is made of its content, so a pass that is repeated after a crash does not repeat it."""
    digest = hashlib.sha256(f"{run.uid}{note.reason}{note.message}".encode()).hexdigest()[:16]
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
        "type": note.type,
        "reason": note.reason,
        "message": note.message[:1024],
        "source": {"component": OPERATOR},
        "reportingComponent": OPERATOR,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
