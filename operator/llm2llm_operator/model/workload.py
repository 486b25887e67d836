"""What Kueue says of a Job: the fields of its Workload that tell why the Job is suspended (Kueue 0.11 to 0.17)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llm2llm_operator.model.containers import REASON_LIMIT, WORDS_LIMIT

_BY_CHECKS = "AdmissionCheck"
"""In the reasons of evictions that admission checks cause: AdmissionCheck and DeactivatedDueToAdmissionCheck."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A Workload of kueue.x-k8s.io. Whoever may edit Workloads can have written any of it.

    Attributes:
        active: false once somebody, or Kueue after too many tries, has deactivated it.
        quota: reason of the condition QuotaReserved while it is not true; Inadmissible if no quota would help.
        quota_words: its message.
        eviction: reason of the condition Evicted while it is true.
        eviction_words: its message.
        check_words: the admission checks that are not done, while quota is reserved or if they are why it was evicted.
        queue: the LocalQueue that it waits in, which may be the namespace's default; empty if there is none.
    """

    name: str
    active: bool = True
    quota: str = ""
    quota_words: str = ""
    eviction: str = ""
    eviction_words: str = ""
    check_words: str = ""
    queue: str = ""


def workload_from_object(body: dict[str, Any]) -> Workload:
    """Reads a Workload of any served version: these fields are the same in v1beta1 and v1beta2. Texts are cut."""
    status = body.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    quota, evicted = conditions.get("QuotaReserved", {}), conditions.get("Evicted", {})
    reserved, is_evicted = quota.get("status") == "True", evicted.get("status") == "True"
    by_checks = is_evicted and _BY_CHECKS in _reason(evicted)
    return Workload(
        name=body["metadata"]["name"],
        active=(body.get("spec") or {}).get("active") is not False,
        quota="" if reserved else _reason(quota),
        quota_words="" if reserved else _words(quota),
        eviction=_reason(evicted) if is_evicted else "",
        eviction_words=_words(evicted) if is_evicted else "",
        check_words=_checks(status.get("admissionChecks") or []) if reserved or by_checks else "",
        queue=str((body.get("spec") or {}).get("queueName", ""))[:REASON_LIMIT],
    )


def _checks(checks: list[dict[str, Any]]) -> str:
    """Returns the admission checks that are not done, each with its state and message."""
    pending = [check for check in checks if check.get("state") != "Ready"]
    told = [f"admission check {each.get('name')} is {each.get('state')}: {each.get('message', '')}" for each in pending]
    return "; ".join(one.rstrip(": ") for one in told)[:WORDS_LIMIT]


def _reason(condition: dict[str, Any]) -> str:
    return str(condition.get("reason", ""))[:REASON_LIMIT]


def _words(condition: dict[str, Any]) -> str:
    return str(condition.get("message", ""))[:WORDS_LIMIT]
