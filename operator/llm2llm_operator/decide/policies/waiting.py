"""Finds out why a run waits (rule C15), from its Job, its pods and their Events, and quotes the cluster's own words."""

from __future__ import annotations

from datetime import datetime

from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.verdicts import GiveUp, Waiting
from llm2llm_operator.model.observation import Event, Job, Pod
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.reasons import Reason

HARMLESS = frozenset({"", "ContainerCreating", "PodInitializing"})
HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
STALE = frozenset({"FailedScheduling"})
"""Warnings that outlive their cause: the condition PodScheduled always says whether it still holds."""
LOOK_AT_EVENTS_SECONDS = 20.0
"""After this long without a pod, or with a pod that does not start, only a Job's Events can say why."""
STUCK_SECONDS = 15 * 60.0
"""A Job whose end is decided but which still has a pod after this time is stuck."""


def waiting_reason(inputs: Inputs, status: RunStatus) -> Waiting | None:
    """Returns why the attempt in progress makes no progress, or None if nothing is wrong."""
    job, pods = inputs.job(status), inputs.pods(status)
    if job is None:
        return None
    stuck = _stuck(job, pods, inputs.now)
    if stuck:
        return stuck
    if any(pod.started and not pod.finished for pod in pods):
        return None  # true also for a Job that was just suspended: its pod is still saving a checkpoint
    if job.suspended:
        return Waiting(Reason.QUEUED, f"Job {job.name} is suspended: waiting for its queue to admit it")
    for pod in reversed(pods):
        if pod.phase in ("Succeeded", "Failed"):
            continue
        if pod.unschedulable:
            return Waiting(Reason.UNSCHEDULABLE, f"pod {pod.name}: {pod.unschedulable}")
        if pod.waiting_reason not in HARMLESS:
            hopeless = pod.waiting_reason in HOPELESS
            reason = Reason.INVALID_IMAGE if hopeless else pod.waiting_reason
            return Waiting(reason, f"pod {pod.name}: {pod.waiting_message or pod.waiting_reason}", hopeless)
    return _from_events(inputs.events, job)


def hopeless(inputs: Inputs, status: RunStatus) -> GiveUp | None:
    """Gives up if the attempt waits for what cannot happen: an image name that cannot be pulled (fault 22)."""
    reason = waiting_reason(inputs, status)
    if reason is None or not reason.hopeless:
        return None
    return GiveUp(reason.reason, f"{reason.message}. Correct the image, then raise spec.retry")


def only_events_can_tell(job: Job, pods: list[Pod]) -> bool:
    """Returns whether a Job should have a running container and has none, while nothing about it says why."""
    if job.suspended or job.ended:
        return False
    return not any(pod.started or pod.unschedulable or pod.waiting_reason not in HARMLESS for pod in pods)


def _stuck(job: Job, pods: list[Pod], now: datetime) -> Waiting | None:
    """Detects FailureTarget or SuccessCriteriaMet without Failed or Complete: a pod does not terminate (fault 26)."""
    remaining = [pod for pod in pods if pod.phase in ("Pending", "Running")]
    if job.ending_since is None or job.ended or not remaining:
        return None
    if (now - job.ending_since).total_seconds() < STUCK_SECONDS:
        return None
    names = ", ".join(f"pod {pod.name} on node {pod.node or '?'}" for pod in remaining)
    return Waiting(
        Reason.POD_STUCK_TERMINATING, f"{names} should have ended but did not: check the node, or delete the pod"
    )


def _from_events(events: tuple[Event, ...], job: Job) -> Waiting | None:
    """Returns the newest warning about the Job or its pods (faults 24 and 28)."""
    warnings = [event for event in events if event.reason not in STALE]
    if not warnings:
        return None
    newest = max(warnings, key=lambda event: event.moment)
    if newest.reason == "FailedCreate":
        quota = "exceeded quota" in newest.message
        return Waiting(Reason.QUOTA_EXCEEDED if quota else Reason.POD_REFUSED, f"Job {job.name}: {newest.message}")
    return Waiting(newest.reason, f"{newest.about}: {newest.message}")
