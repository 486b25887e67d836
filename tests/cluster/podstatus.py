"""PURE: the status that a kubelet writes for a pod, from the states of its containers.

The order of phases, the condition types and the reasons are the kubelet's (pkg/kubelet/status/generate.go); controllers
and the operator decide by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.cluster.podspec import Spec

KILLED = 128 + 9
TERMINATED = 128 + 15
START_ERROR = 128


@dataclass(frozen=True)
class Waiting:
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Running:
    started_at: datetime


@dataclass(frozen=True)
class Terminated:
    """How a container ended. `exit_code` of a signal is 128 + its number, as a container runtime tells it."""

    exit_code: int
    reason: str
    started_at: datetime | None
    finished_at: datetime
    message: str = ""


State = Waiting | Running | Terminated


@dataclass(frozen=True)
class PodState:
    """What the node knows of a pod.

    Attributes:
        containers: state by container name, init containers included.
        reason: the pod's own reason, such as Evicted.
        disruption: reason and message of the condition DisruptionTarget.
        deleted: it is being deleted: a container that never ran then counts as failed.
    """

    containers: Mapping[str, State]
    start_time: datetime
    host_ip: str
    pod_ip: str = ""
    reason: str = ""
    message: str = ""
    disruption: tuple[str, str] | None = None
    deleted: bool = False
    restarts: Mapping[str, int] = field(default_factory=dict)

    def with_container(self, name: str, state: State) -> PodState:
        return replace(self, containers={**self.containers, name: state})


def exit_code(wait_status: int) -> int:
    """The exit code of a `waitpid` status: 128 + n for signal n."""
    return 128 + (wait_status & 0x7F) if wait_status & 0x7F else wait_status >> 8


def phase(pod: Spec, state: PodState) -> str:
    """Pending, Running, Succeeded or Failed (restartPolicy Never)."""
    if state.reason == "Evicted":
        return "Failed"
    init = [state.containers[one["name"]] for one in pod["spec"].get("initContainers", [])]
    main = [state.containers[one["name"]] for one in pod["spec"]["containers"]]
    if any(isinstance(one, Terminated) and one.exit_code != 0 for one in init):
        return "Failed"
    if all(isinstance(one, Terminated) for one in main):
        return "Succeeded" if all(isinstance(one, Terminated) and one.exit_code == 0 for one in main) else "Failed"
    if any(isinstance(one, Running | Terminated) for one in main):
        return "Running"
    return "Pending"


def status(pod: Spec, state: PodState, now: datetime) -> dict[str, Any]:
    """The status as a strategic merge patch: conditions of other writers stay."""
    current = phase(pod, state)
    body: dict[str, Any] = {
        "phase": current,
        "hostIP": state.host_ip,
        "hostIPs": [{"ip": state.host_ip}],
        "startTime": _time(state.start_time),
        "conditions": _conditions(pod, state, current, now),
        "containerStatuses": _statuses(pod, pod["spec"]["containers"], state, current),
    }
    if pod["spec"].get("initContainers"):
        body["initContainerStatuses"] = _statuses(pod, pod["spec"]["initContainers"], state, current)
    if state.pod_ip:
        body |= {"podIP": state.pod_ip, "podIPs": [{"ip": state.pod_ip}]}
    if state.reason:
        body |= {"reason": state.reason, "message": state.message}
    return body


def _conditions(pod: Spec, state: PodState, current: str, now: datetime) -> list[dict[str, Any]]:
    names = [one["name"] for one in pod["spec"]["containers"]]
    unready = [name for name in names if not isinstance(state.containers[name], Running)]
    initialized = all(
        isinstance(done := state.containers[one["name"]], Terminated) and done.exit_code == 0
        for one in pod["spec"].get("initContainers", [])
    )
    ready: tuple[str, str, str] = ("True", "", "")
    if current in ("Succeeded", "Failed"):
        ready = ("False", "PodCompleted" if current == "Succeeded" else "PodFailed", "")
    elif unready:
        ready = ("False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    started = "True" if state.pod_ip and current in ("Pending", "Running") else "False"
    wanted = {
        "PodReadyToStartContainers": (started, "", ""),
        "Initialized": ("True" if initialized else "False", "PodCompleted" if current == "Succeeded" else "", ""),
        "Ready": ready,
        "ContainersReady": ready,
    }
    if not initialized:
        wanted["Initialized"] = ("False", "ContainersNotInitialized", "containers with incomplete status")
    if state.disruption:
        wanted["DisruptionTarget"] = ("True", *state.disruption)
    before = {one["type"]: one for one in pod.get("status", {}).get("conditions", [])}
    conditions = []
    for kind, (value, reason, message) in wanted.items():
        old = before.get(kind, {})
        since = old.get("lastTransitionTime") if old.get("status") == value else None
        # null takes an earlier reason away in a merge patch
        told = {"reason": reason or None, "message": message or None}
        conditions.append({"type": kind, "status": value, "lastTransitionTime": since or _time(now), **told})
    return conditions


def _statuses(pod: Spec, containers: Sequence[Any], state: PodState, current: str) -> list[dict[str, Any]]:
    found = []
    for container in containers:
        name = container["name"]
        now = state.containers[name]
        running = isinstance(now, Running)
        ended_well = isinstance(now, Terminated) and now.exit_code == 0
        init = container in pod["spec"].get("initContainers", [])
        found.append(
            {
                "name": name,
                "image": container.get("image", ""),
                "imageID": "" if isinstance(now, Waiting) else f"process://{container.get('image', '')}",
                "containerID": None if isinstance(now, Waiting) else f"process://{pod['metadata']['uid']}/{name}",
                "ready": ended_well if init else running,
                "started": running,
                "restartCount": state.restarts.get(name, 0),
                "state": _state(now),
            }
        )
    return found


def _state(state: State) -> dict[str, Any]:
    match state:
        case Waiting(reason, message):
            told = {"reason": reason, "message": message} if message else {"reason": reason, "message": None}
            return {"waiting": told, "running": None, "terminated": None}
        case Running(started_at):
            return {"running": {"startedAt": _time(started_at)}, "waiting": None, "terminated": None}
        case Terminated():
            ended: dict[str, Any] = {
                "exitCode": state.exit_code,
                "reason": state.reason,
                "finishedAt": _time(state.finished_at),
                "startedAt": _time(state.started_at) if state.started_at else None,
            }
            if state.message:
                ended["message"] = state.message
            return {"terminated": ended, "waiting": None, "running": None}


def lost(now: datetime) -> Terminated:
    """The end of a container that the node no longer finds, in the kubelet's words."""
    words = "The container could not be located when the pod was terminated"
    return Terminated(KILLED, "ContainerStatusUnknown", None, now, words)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
