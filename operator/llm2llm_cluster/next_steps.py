"""PURE: what a person can do about a run that has ended or is held, by the reason in its status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm2llm_operator.reasons import Reason

Run = Mapping[str, Any]
_ABOUT_AN_END = ("Complete", "Failed", "Suspended")
_TOP_UP = "llm2llm topup {name} (--tokens, --cost, --gpu-hours)"
HELD: dict[str, str] = {
    Reason.SUSPENDED_BY_USER: "to let it go on: llm2llm resume {name}",
    Reason.AWAITING_APPROVAL: "read the newest rows of the teacher, then: llm2llm approve {name}",
    Reason.BUDGET_EXCEEDED: f"it goes on by itself once the limit is raised: {_TOP_UP}",
    Reason.TEACHER_QUOTA_EXHAUSTED: "add credit, then: llm2llm retry {name}",
}
"""What ends each hold."""
_FAILED: dict[str, str] = {Reason.BUDGET_EXCEEDED: f"raise the limit: {_TOP_UP}, then: llm2llm retry {{name}}"}
_OTHERWISE = "correct the cause, then: llm2llm retry {name}"


def reason_of(run: Run) -> str:
    """Returns the reason of the condition that says why the run is where it is."""
    conditions = {entry.get("type"): entry for entry in (run.get("status") or {}).get("conditions") or ()}
    ends = [conditions[kind] for kind in _ABOUT_AN_END if (conditions.get(kind) or {}).get("status") == "True"]
    return str((ends[0] if ends else conditions.get("Progressing") or {}).get("reason", ""))


def next_step(run: Run) -> str:
    """Returns what to do next with a run that has ended or is held; '' for others."""
    status, spec = run.get("status") or {}, run.get("spec") or {}
    phase, reason, name = status.get("phase"), reason_of(run), (run.get("metadata") or {}).get("name")
    steps = []
    if phase == "Succeeded":
        return _results(status)
    if phase == "Failed":
        steps = [_FAILED.get(reason, _OTHERWISE)]
    if phase == "Suspended":
        steps = [_held(reason)]
        if spec.get("suspend") and reason != Reason.SUSPENDED_BY_USER:
            steps.append(f"spec.suspend holds it, too; {_held(Reason.SUSPENDED_BY_USER)}")
    return "; ".join(steps).format(name=name)


def _held(reason: str) -> str:
    return HELD.get(reason, _OTHERWISE)


def _results(status: Mapping[str, Any]) -> str:
    uri, model = status.get("artifactsUri"), (status.get("best") or {}).get("modelUri")
    places = [f"the report is at {uri}/report/index.html"] if uri else []
    places += [f"the best student at {model}"] if model else []
    return ", ".join(places)
