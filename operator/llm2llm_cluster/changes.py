"""PURE: the changes that the commands make to a run's spec, and who else would undo them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from llm2llm.errors import ConfigurationError
from llm2llm_cluster.next_steps import next_step, reason_of
from llm2llm_operator.reasons import Reason

Run = Mapping[str, Any]
Change = dict[str, Any]

_KEEPERS = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}
"""Annotation or label to the tool that sets it, and that may bring an object back to what Git has."""
_FLUX_RECONCILES = "kustomize.toolkit.fluxcd.io/reconcile"
"""With the value disabled, Flux leaves an object that is in the cluster as it is (kustomize-controller)."""
_INSTANCE, _MANAGED_BY = "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"
"""Argo CD 2 marks what it keeps with the first alone, which charts set, too, and then with the second."""


def keeper(run: Run) -> str:
    """Returns the name of the tool that keeps the run as Git has it; '' if none does."""
    marks = _marks(run)
    if str(marks.get(_FLUX_RECONCILES)).lower() == "disabled":
        marks.pop("kustomize.toolkit.fluxcd.io/name", None)
    return next((tool for mark, tool in _KEEPERS.items() if mark in marks), "")


def possible_keeper(run: Run) -> str:
    """Returns the name of a tool that may keep the run, by a mark that others set, too; '' if there is none."""
    marks = _marks(run)
    return "Argo CD" if _INSTANCE in marks and marks.get(_MANAGED_BY) != "Helm" else ""


def _marks(run: Run) -> dict[str, Any]:
    metadata = run.get("metadata") or {}
    return {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}


def set_suspended(run: Run, *, suspended: bool) -> Change:
    """Returns the change that holds a run, or lets it go on.

    Raises:
        ConfigurationError: it has ended, or is so already.
    """
    _require_unfinished(run)
    if bool(_spec(run).get("suspend")) == suspended:
        if not suspended and _status(run).get("phase") == "Suspended":
            raise ConfigurationError(f"{_name(run)} is held for another reason than spec.suspend: {next_step(run)}")
        raise ConfigurationError(f"{_name(run)} is {'suspended already' if suspended else 'not suspended'}")
    return {"suspend": suspended}


def retry(run: Run) -> Change:
    """Returns the change that has a failed or held run try its step again.

    Raises:
        ConfigurationError: there is nothing to try again, or what the run is held for would hold it again.
    """
    phase = _status(run).get("phase")
    if phase not in ("Failed", "Suspended"):
        raise ConfigurationError(f"{_name(run)} is {phase or 'new'}: only a failed or held run can be retried")
    if phase == "Suspended" and (_spec(run).get("suspend") or reason_of(run) == Reason.AWAITING_APPROVAL):
        raise ConfigurationError(f"{_name(run)} is held, which a retry does not end: {next_step(run)}")
    return {"retry": int(_spec(run).get("retry") or 0) + 1}


def approve(run: Run) -> Change:
    """Returns the change that approves the newest round of rows.

    Raises:
        ConfigurationError: the run waits for no approval.
    """
    _require_unfinished(run)
    approval = _spec(run).get("approval") or {}
    if approval.get("mode") != "BeforeTraining":
        raise ConfigurationError(f"{_name(run)} requires no approval (spec.approval.mode)")
    rounds = sum(1 for row in _status(run).get("iterations") or () if _has_generated(row))
    approved = int(approval.get("approvedRounds") or 0)
    if rounds <= approved:
        raise ConfigurationError(
            f"{_name(run)} has {rounds} rounds of rows, and {approved} are approved: there is nothing new to approve"
        )
    return {"approval": {"approvedRounds": rounds}}


def _has_generated(row: Mapping[str, Any]) -> bool:
    return any(
        step.get("stage") == "Generate" and step.get("outcome") == "Succeeded" for step in row.get("steps") or ()
    )


def top_up(run: Run, *, tokens: int = 0, cost: str = "", gpu_hours: str = "") -> Change:
    """Returns the change that raises limits of a run's budget by so much.

    Raises:
        ConfigurationError: nothing was named, the run has no such limit, or an amount is no positive number.
    """
    budget = _spec(run).get("budget") or {}
    change: Change = {}
    for field, amount in (("maxTeacherTokens", str(tokens or "")), ("maxCost", cost), ("maxGPUHours", gpu_hours)):
        if not amount:
            continue
        if budget.get(field) is None:
            raise ConfigurationError(f"{_name(run)} has no spec.budget.{field}: there is no limit to raise")
        total = Decimal(str(budget[field])) + _amount(field, amount)
        change[field] = int(total) if field == "maxTeacherTokens" else format(total.normalize(), "f")
    if not change:
        raise ConfigurationError("name what to raise: --tokens, --cost or --gpu-hours")
    return {"budget": change}


def _amount(field: str, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise ConfigurationError(f"{text!r} cannot be added to spec.budget.{field}: give a positive number")
    return amount


def _require_unfinished(run: Run) -> None:
    phase = _status(run).get("phase")
    if phase in ("Succeeded", "Failed"):
        raise ConfigurationError(f"{_name(run)} has {phase.lower()}: it does nothing more")


def _name(run: Run) -> str:
    return str((run.get("metadata") or {}).get("name"))


def _spec(run: Run) -> Mapping[str, Any]:
    return run.get("spec") or {}


def _status(run: Run) -> Mapping[str, Any]:
    return run.get("status") or {}
