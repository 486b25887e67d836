"""Finds out why a run waits (rule C15), from its Job, its pods and their Events, and quotes the cluster's own words."""

from __future__ import annotations

from datetime import datetime

from llm2llm.errors import ExitCode
from llm2llm_operator.decide.actions import earliest
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies import disruptions, queueing
from llm2llm_operator.decide.policies.verdicts import GiveUp, Waiting
from llm2llm_operator.model.observation import Event, Job, Pod
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.reasons import Reason

HARMLESS = frozenset({"", "ContainerCreating", str(Reason.POD_INITIALIZING)})
HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
CRASHING = "CrashLoopBackOff"
KNOWN_WAITS = frozenset(
    {
        CRASHING,
        "ContainerCannotRun",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "PostStartHookError",
        "PreCreateHookError",
        "PreStartHookError",
        "RegistryUnavailable",
        "RunContainerError",
        "SignatureValidationFailed",
    }
)
"""Reasons that a kubelet gives for a container that does not start (kubelet 1.34); others, of a container runtime, or
of whoever may write the status of pods, appear under one word, also in metrics.
"""
STALE = frozenset({"FailedScheduling"})
"""Warnings that outlive their cause: the condition PodScheduled always says whether it still holds."""
KNOWN_WARNINGS = frozenset(
    {
        "BackOff",
        "ErrImageNeverPull",
        "Failed",
        "FailedAttachVolume",
        "FailedBinding",
        "FailedCreatePodContainer",
        "FailedCreatePodSandBox",
        "FailedMapVolume",
        "FailedMount",
        "FailedPostStartHook",
        "FailedPrepareDynamicResources",
        "FailedToRetrieveImagePullSecret",
        "FailedValidation",
        "InspectFailed",
        "NetworkNotReady",
        "NodeAffinity",
        "NodeNotReady",
        "OutOfcpu",
        "OutOfmemory",
        "OutOfpods",
        "ProvisioningFailed",
        "TopologyAffinityError",
        "UnexpectedAdmissionError",
        "VolumeResizeFailed",
    }
)
"""Reasons that Kubernetes itself gives for a pod that does not start (kubelet, scheduler and volume controllers, 1.34).

Whoever may write Events can give any reason; others appear under one word, also in metrics.
"""
SEEN_UNTIL_OVER = frozenset(
    {
        Reason.QUEUED,
        Reason.INADMISSIBLE,
        Reason.NO_WORKLOAD,
        Reason.DEACTIVATED,
        Reason.PREEMPTED,
        Reason.REQUEUED,
        Reason.UNSCHEDULABLE,
        Reason.SCHEDULING_GATED,
        Reason.NO_SCHEDULER,
        Reason.POD_INITIALIZING,
        Reason.DISRUPTED,
        # what kept the Job from being created: it is there
        Reason.FORBIDDEN,
        Reason.WEBHOOK_DENIED,
        Reason.WEBHOOK_UNAVAILABLE,
        Reason.SERVER_ERROR,
        Reason.JOB_REJECTED,
        Reason.INTERNAL_ERROR,
    }
)
"""Reasons that Job, Workload and pods show for as long as they hold, so that they are over when they are not seen.

A kubelet's reason for a container goes away before each of its tries, and an Event expires while it still holds.
"""
LOOK_FOR_NEWS_SECONDS = 20.0
"""After this long without a pod, or with a pod that does not start, only Events or a Workload can say why."""
LOOK_AGAIN_SECONDS = 300.0
"""Longest time between two looks at them; the time doubles until then."""
SILENT_SECONDS = 30.0
"""After this long nothing else will say why: a pod that no scheduler takes, an init container that does not end."""
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
        return queueing.waiting_reason(inputs, status, job)
    newest_first = living(pods)[::-1]
    return (
        next(filter(None, (_of_pod(inputs, pod) for pod in newest_first)), None)
        or _from_events(inputs.events, job)
        or next(filter(None, (_silent(inputs, pod) for pod in newest_first)), None)
        or _disrupted(inputs, status, pods)
    )


def hopeless(inputs: Inputs, status: RunStatus) -> GiveUp | None:
    """Gives up if the attempt waits for what cannot happen: an image name that cannot be pulled (fault 22)."""
    reason = waiting_reason(inputs, status)
    if reason is None or not reason.hopeless:
        return None
    return GiveUp(reason.reason, f"{reason.message}. Correct the image, then raise spec.retry")


def only_events_can_tell(job: Job, pods: list[Pod]) -> bool:
    """Returns whether a Job should have a running container and has none, while nothing about it says why.

    That is so once its last pod has ended only if it is to start another one; else the Job is about to end.
    """
    if job.suspended or job.ended:
        return False
    alive = living(pods)
    if not alive:
        return not pods or pods[-1].disrupted or pods[-1].exit_code == ExitCode.TERMINATED
    return not any(
        pod.started or pod.unschedulable or pod.gated or _blocked(pod) or pod.waiting_reason not in HARMLESS
        for pod in alive
    )


def only_news_can_tell(inputs: Inputs, job: Job, pods: list[Pod]) -> bool:
    """Returns whether only what no watch reports says why a Job has no running container: Events, or a Workload."""
    return only_events_can_tell(job, pods) or (inputs.reads_workloads and job.suspended)


def living(pods: list[Pod]) -> list[Pod]:
    """Returns the pods that have not ended: what is said of the others does not keep the step from starting."""
    return [pod for pod in pods if not pod.ended]


def seconds_left(inputs: Inputs, status: RunStatus) -> float | None:
    """Returns the seconds until the silence about a pod that does not start is a reason; None if nothing is silent."""
    moments = filter(None, map(_silent_since, living(inputs.pods(status))))
    pauses = [SILENT_SECONDS - inputs.seconds_since_moment(moment) for moment in moments]
    return earliest(*(max(1.0, pause) for pause in pauses if pause > 0))


def _of_pod(inputs: Inputs, pod: Pod) -> Waiting | None:
    """Returns why a pod does not start, by its status: its scheduler, an init container, or the step's own container.

    Texts are quoted as they are; what does not change says no time, so that waiting costs no writes.
    """
    if pod.unschedulable:
        return Waiting(Reason.UNSCHEDULABLE, f"pod {pod.name}: {pod.unschedulable}")
    if pod.gated:
        return Waiting(Reason.SCHEDULING_GATED, f"pod {pod.name}: {pod.gated}")
    if pod.init is not None and _blocked(pod):
        reason = pod.init.waiting_reason or CRASHING
        return _of_container(pod, reason, f"init container {pod.init.name}: {pod.init.words or reason}")
    if pod.waiting_reason not in HARMLESS:
        return _of_container(pod, pod.waiting_reason, pod.waiting_message)
    return _silent(inputs, pod) if pod.init is not None and pod.init.runs else None


def _silent(inputs: Inputs, pod: Pod) -> Waiting | None:
    """Returns what a pod waits for that has not started for long, though nothing says why."""
    since = _silent_since(pod)
    if since is None or inputs.seconds_since_moment(since) < SILENT_SECONDS:
        return None
    if pod.unclaimed_by:
        named = inputs.spec.pod_overrides.scheduler_name == pod.unclaimed_by
        advice = "check spec.podOverrides.schedulerName" if named else "check that it runs"
        message = f"no scheduler '{pod.unclaimed_by}' has taken pod {pod.name}: {advice}"
        return Waiting(Reason.NO_SCHEDULER, message)
    name = pod.init.name if pod.init else ""
    return Waiting(Reason.POD_INITIALIZING, f"pod {pod.name}: the step waits for init container {name}")


def _of_container(pod: Pod, reason: str, words: str) -> Waiting:
    """Returns a kubelet's reason for a container that does not start."""
    if reason in HOPELESS:
        return Waiting(Reason.INVALID_IMAGE, f"pod {pod.name}: {words or reason}", hopeless=True)
    if reason in KNOWN_WAITS:
        return Waiting(reason, f"pod {pod.name}: {words or reason}")
    return Waiting(Reason.CLUSTER_WARNING, ": ".join((f"pod {pod.name}", reason, *([words] if words else []))))


def _blocked(pod: Pod) -> bool:
    """Returns whether an init container has failed, is started again and again, or cannot be started."""
    init = pod.init
    return init is not None and (init.exit_code is not None or init.waiting_reason not in HARMLESS)


def _silent_since(pod: Pod) -> datetime | None:
    """Returns since when nothing says why a pod does not start though something should; by the control plane's clock.

    Its creation, if no scheduler took it; when it got its node, if an init container has its turn.
    """
    if pod.unclaimed_by:
        return pod.created
    return (pod.bound or pod.created) if pod.init is not None and not _blocked(pod) else None


def _disrupted(inputs: Inputs, status: RunStatus, pods: list[Pod]) -> Waiting | None:
    """Returns why the newest pod is gone or goes, while its Job has started no other one (fault 19)."""
    if not pods or not pods[-1].disrupted:
        return None
    return Waiting(Reason.DISRUPTED, f"{disruptions.last_words(inputs, status)}; its Job starts another pod")


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
    reason = newest.reason if newest.reason in KNOWN_WARNINGS else Reason.CLUSTER_WARNING
    return Waiting(reason, f"{newest.about}: {newest.message}")
