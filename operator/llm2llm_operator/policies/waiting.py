"""Why a run waits (rule 15), from what its Job and pods show, with the cluster's own words."""

from __future__ import annotations

from dataclasses import dataclass

from llm2llm_operator.observe import Job, Pod

HARMLESS = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class Waiting:
    """Reason of Progressing=False, and the message."""

    reason: str
    message: str


def why(job: Job, pods: list[Pod]) -> Waiting | None:
    """The reason why this Job makes no progress, or None while nothing is wrong."""
    if job.suspended:
        return Waiting("Queued", f"Job {job.name} is suspended: waiting for its queue to admit it")
    for pod in reversed(pods):
        if pod.started or pod.phase in ("Succeeded", "Failed"):
            return None
        if pod.unschedulable:
            return Waiting("Unschedulable", f"pod {pod.name}: {pod.unschedulable}")
        if pod.waiting_reason not in HARMLESS:
            return Waiting(pod.waiting_reason, f"pod {pod.name}: {pod.waiting_message}")
    return None
