"""The observed state of one run: Jobs, pods and their termination messages, as one frozen Observation.

Only these fields are kept: thousands of Jobs and pods are in memory, and a decision needs nothing else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llm2llm.podenv import CONTAINER
from llm2llm_operator.constants import LABEL_RUN, LABEL_RUN_UID


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of an attempt. Times are the kubelet's; it truncates `message`, the termination message, to 4 KiB."""

    namespace: str
    name: str
    uid: str
    version: int
    run: str
    run_uid: str
    job_uid: str
    phase: str
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None
    terminated_reason: str = ""
    message: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    unschedulable: str = ""
    disrupted: bool = False
    deleting: bool = False
    node: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """The Job of one attempt. Only its terminal conditions count: before them a pod may still run (rule C11)."""

    namespace: str
    name: str
    uid: str
    version: int
    run: str
    run_uid: str
    owner_uid: str
    suspended: bool
    complete: bool
    failed: bool
    failure_reason: str = ""
    failure_message: str = ""
    deleting: bool = False
    ending_since: datetime | None = None
    """Since when its end is decided (FailureTarget, SuccessCriteriaMet), though a pod may still be there."""

    @property
    def ended(self) -> bool:
        """Whether none of its pods is running or will run."""
        return self.complete or self.failed


@dataclass(frozen=True, slots=True)
class Event:
    """A warning of the cluster about a Job or a pod."""

    reason: str
    message: str
    about: str
    moment: str


@dataclass(frozen=True, slots=True)
class Observation:
    """The Jobs and pods that belong to one run."""

    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()

    def job(self, name: str) -> Job | None:
        """Returns the Job with this name, or None."""
        return next((job for job in self.jobs if job.name == name), None)

    def pods_of(self, job: Job) -> list[Pod]:
        """Returns the pods of a Job, in the order of their starts."""
        pods = [pod for pod in self.pods if pod.job_uid == job.uid]
        return sorted(pods, key=lambda pod: (pod.started or datetime.min.replace(tzinfo=UTC), pod.version))


def job_from_object(body: dict[str, Any]) -> Job:
    """Reads a batch/v1 Job."""
    metadata, status = body["metadata"], body.get("status") or {}
    labels = metadata.get("labels") or {}
    true = {c["type"]: c for c in status.get("conditions") or [] if c.get("status") == "True"}
    failed = true.get("Failed", {})
    ending = true.get("FailureTarget") or true.get("SuccessCriteriaMet") or {}
    return Job(
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        run=sys.intern(labels.get(LABEL_RUN, "")),
        run_uid=sys.intern(labels.get(LABEL_RUN_UID, "")),
        owner_uid=_controller_uid(metadata),
        suspended=bool((body.get("spec") or {}).get("suspend")),
        complete="Complete" in true,
        failed="Failed" in true,
        failure_reason=failed.get("reason", ""),
        failure_message=failed.get("message", ""),
        deleting="deletionTimestamp" in metadata,
        ending_since=_time(ending.get("lastTransitionTime")),
    )


def pod_from_object(body: dict[str, Any]) -> Pod:
    """Reads a v1 Pod: its container `step`, and the conditions that say why it waits."""
    metadata, status = body["metadata"], body.get("status") or {}
    labels = metadata.get("labels") or {}
    states = {c["name"]: c.get("state") or {} for c in status.get("containerStatuses") or []}
    state = states.get(CONTAINER, {})
    running, terminated, waiting = (state.get(kind) or {} for kind in ("running", "terminated", "waiting"))
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return Pod(
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        run=sys.intern(labels.get(LABEL_RUN, "")),
        run_uid=sys.intern(labels.get(LABEL_RUN_UID, "")),
        job_uid=_controller_uid(metadata),
        phase=status.get("phase", "Pending"),
        started=_time(running.get("startedAt") or terminated.get("startedAt")),
        finished=_time(terminated.get("finishedAt")),
        exit_code=terminated.get("exitCode"),
        terminated_reason=terminated.get("reason", ""),
        message=terminated.get("message", ""),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        unschedulable=scheduled.get("message", "") if unschedulable else "",
        disrupted=conditions.get("DisruptionTarget", {}).get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        node=sys.intern((body.get("spec") or {}).get("nodeName", "")),
    )


def event_from_object(body: dict[str, Any]) -> Event | None:
    """Reads a v1 Event; returns None if it is not a warning."""
    if body.get("type") != "Warning":
        return None
    about = body.get("involvedObject") or {}
    return Event(
        reason=body.get("reason", ""),
        message=body.get("message", ""),
        about=f"{about.get('kind', '').lower()} {about.get('name', '')}",
        moment=body.get("lastTimestamp") or body.get("eventTime") or body["metadata"].get("creationTimestamp", ""),
    )


def _controller_uid(metadata: dict[str, Any]) -> str:
    owners = metadata.get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
