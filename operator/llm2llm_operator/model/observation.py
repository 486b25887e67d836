"""The observed state of one run: Jobs, pods and their termination messages, as one frozen Observation.

Only these fields are kept: thousands of Jobs and pods are in memory, and a decision needs nothing else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from llm2llm.podenv import CONTAINER
from llm2llm_operator.constants import ANNOTATION_SETTINGS, LABEL_JOB_NAME, LABEL_RUN, LABEL_RUN_UID
from llm2llm_operator.model.containers import (
    REASON_LIMIT,
    WORDS_LIMIT,
    InitContainer,
    reason_and_message,
    unfinished_beside,
    unfinished_init,
)
from llm2llm_operator.reasons import Reason

OF_THE_GARBAGE_COLLECTOR = ("foregroundDeletion", "orphan")
OOM_KILLED = "OOMKilled"
"""A kubelet's reason for a container that its memory limit ended."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of an attempt. Its container's times are the kubelet's, which cuts `message`, its last words, to 4 KiB.

    Attributes:
        job_name: known also after its Job is gone, and if it was orphaned.
        created: by the API server's clock.
        bound: when the scheduler chose its node, by the scheduler's clock.
        unclaimed_by: the scheduler that it names, while none has said anything of it.
        gated: why nobody may schedule it yet.
        init: the init container that keeps the step from starting.
        beside: the containers that still run, or may, though the step has ended.
        disruption: reason and message of the condition DisruptionTarget.
        rejection: reason and message that the kubelet gives for the whole pod, not for a container.
    """

    namespace: str
    name: str
    uid: str
    version: int
    run: str
    run_uid: str
    job_uid: str
    job_name: str
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
    created: datetime | None = None
    bound: datetime | None = None
    unclaimed_by: str = ""
    gated: str = ""
    init: InitContainer | None = None
    beside: str = ""
    disruption: str = ""
    rejection: str = ""

    @property
    def ended(self) -> bool:
        """Whether none of its containers will run again."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def step_ended(self) -> bool:
        """Whether the step has ended, whatever runs on beside it; a pod that never ran it has ended it, too."""
        return self.exit_code is not None or self.ended

    @property
    def outlived(self) -> bool:
        """Whether containers beside the step keep alive a pod whose step has ended, so that its Job does not end.

        A pod that is being deleted, or was disrupted, ends by itself; only a success counts from it.
        """
        leaving = self.deleting or self.disrupted
        return self.beside != "" and self.exit_code is not None and (self.exit_code == 0 or not leaving)

    @property
    def never_ran(self) -> bool:
        """Whether it ended before its step was started.

        A kubelet gives code 137 to a container that it never saw, and a reason to the pod that it refused.
        """
        unseen = self.exit_code is None or (self.terminated_reason == "ContainerStatusUnknown" and self.rejection != "")
        return self.phase == "Failed" and self.started is None and unseen


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
    settings: str = ""
    """What it was made from (`build/settings.py`); empty for one of an earlier release."""
    held_by: str = ""
    """Names of the finalizers of others, without which it would be gone."""

    @property
    def ended(self) -> bool:
        """Whether none of its pods is running or will run."""
        return self.complete or self.failed


@dataclass(frozen=True, slots=True)
class Event:
    """A warning about a Job or a pod. Whoever may edit Events can have written it, but for the time of its creation."""

    reason: str
    message: str
    about: str
    moment: datetime


@dataclass(frozen=True, slots=True)
class Observation:
    """The Jobs that one run controls, and their pods."""

    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()

    def job(self, name: str, uid: str) -> Job | None:
        """Returns the Job with this name, or None; also None if its UID is another than the recorded one, if any."""
        return next((job for job in self.jobs if job.name == name and uid in ("", job.uid)), None)

    def pods_of(self, job: Job) -> list[Pod]:
        """Returns the pods of a Job, in the order in which they were created: a Job has one after the other.

        Of two that were created in one second, the one that could not start counts from its end, or comes last.
        """
        pods = [pod for pod in self.pods if pod.job_uid == job.uid]
        return sorted(pods, key=lambda pod: (pod.created or EPOCH, pod.started or pod.finished or LATEST, pod.version))


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
        owner_uid=_controller(metadata, "uid"),
        suspended=bool((body.get("spec") or {}).get("suspend")),
        complete="Complete" in true,
        failed="Failed" in true,
        failure_reason=failed.get("reason", ""),
        failure_message=failed.get("message", ""),
        deleting="deletionTimestamp" in metadata,
        ending_since=_time(ending.get("lastTransitionTime")),
        settings=str((metadata.get("annotations") or {}).get(ANNOTATION_SETTINGS, ""))[:REASON_LIMIT],
        held_by=_held_by(metadata),
    )


def pod_from_object(body: dict[str, Any]) -> Pod:
    """Reads a v1 Pod: its container `step`, and what says why it waits: conditions, init containers, a kubelet.

    Texts are cut: thousands of pods are in memory. They are made plain where they are shown.
    """
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels = metadata.get("labels") or {}
    states = {c["name"]: c.get("state") or {} for c in status.get("containerStatuses") or []}
    state = states.get(CONTAINER, {})
    running, terminated, waiting = (state.get(kind) or {} for kind in ("running", "terminated", "waiting"))
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    scheduled, disruption = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
    phase, started = status.get("phase", "Pending"), _time(running.get("startedAt") or terminated.get("startedAt"))
    unbound = scheduled.get("status") == "False"
    gated = bool(spec.get("schedulingGates")) or (unbound and scheduled.get("reason") == Reason.SCHEDULING_GATED)
    unclaimed = phase == "Pending" and not scheduled and not gated and not spec.get("nodeName")
    return Pod(
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        run=sys.intern(labels.get(LABEL_RUN, "")),
        run_uid=sys.intern(labels.get(LABEL_RUN_UID, "")),
        job_uid=_controller(metadata, "uid"),
        job_name=_controller(metadata, "name") or labels.get(LABEL_JOB_NAME, ""),
        phase=phase,
        started=started,
        finished=_time(terminated.get("finishedAt")),
        exit_code=terminated.get("exitCode"),
        terminated_reason=terminated.get("reason", ""),
        message=terminated.get("message", ""),
        waiting_reason=waiting.get("reason", "")[:REASON_LIMIT],
        waiting_message=waiting.get("message", "")[:WORDS_LIMIT],
        unschedulable=_words(scheduled) if unbound and not gated else "",
        disrupted=disruption.get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        node=sys.intern(spec.get("nodeName", "")),
        created=_time(metadata.get("creationTimestamp")),
        bound=_time(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
        unclaimed_by=sys.intern((spec.get("schedulerName") or "default-scheduler")[:REASON_LIMIT]) if unclaimed else "",
        gated=_gates(spec, scheduled) if gated else "",
        init=None if started else unfinished_init(spec, status),
        beside=unfinished_beside(spec, status) if terminated and phase not in ("Succeeded", "Failed") else "",
        disruption=reason_and_message(disruption) if disruption.get("status") == "True" else "",
        rejection=reason_and_message(status) if phase == "Failed" else "",
    )


def event_from_object(body: dict[str, Any], now: datetime) -> Event | None:
    """Reads a v1 Event; returns None if it is not a warning.

    An Event that claims a time in the future, further than clocks differ, counts from its creation, a time that the API
    server has set.
    """
    if body.get("type") != "Warning":
        return None
    about = body.get("involvedObject") or {}
    created = _time(body["metadata"].get("creationTimestamp")) or EPOCH
    claimed = _time(body.get("lastTimestamp") or body.get("eventTime")) or created
    return Event(
        reason=body.get("reason", ""),
        message=body.get("message", ""),
        about=f"{about.get('kind', '').lower()} {about.get('name', '')}",
        moment=min(claimed, now) if claimed <= now + CLOCK_SKEW else created,
    )


def _held_by(metadata: dict[str, Any]) -> str:
    """Returns the finalizers of an object that is being deleted which Kubernetes does not remove by itself."""
    if "deletionTimestamp" not in metadata:
        return ""
    names = [str(name) for name in metadata.get("finalizers") or [] if name not in OF_THE_GARBAGE_COLLECTOR]
    return ", ".join(names)[:WORDS_LIMIT]


def _gates(spec: dict[str, Any], scheduled: dict[str, Any]) -> str:
    """Returns the words of the condition, and the names of the gates: they say who has to remove them."""
    names = ", ".join(str(gate.get("name", "")) for gate in spec.get("schedulingGates") or [])
    words = _words(scheduled) or "it has scheduling gates"
    return f"{words} ({names})"[:WORDS_LIMIT] if names else words


def _words(condition: dict[str, Any]) -> str:
    return str(condition.get("message") or condition.get("reason", ""))[:WORDS_LIMIT]


def _controller(metadata: dict[str, Any], field: str) -> str:
    """Returns the UID or the name of an object's controller, or an empty string."""
    owners = metadata.get("ownerReferences") or []
    return next((str(owner.get(field) or "") for owner in owners if owner.get("controller")), "")


def _time(text: str | None) -> datetime | None:
    """Parses a time. A kubelet writes 1970, the container runtime's 0, for a container that could not be started."""
    moment = datetime.fromisoformat(text) if text else None
    return None if moment == EPOCH else moment
