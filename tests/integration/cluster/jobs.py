"""Jobs for the tests of the node: built to pass `restricted`, watched until something is true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from tests.cluster.controlplane import Cluster

# The operator's own rules for a Job (rule C11), as far as the node matters.
DISRUPTION_RULES = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"containerName": "main", "operator": "In", "values": [143]}},
    ]
}

T = TypeVar("T")


def job(name: str, command: list[str], *, container: dict[str, Any] | None = None, **pod: Any) -> dict[str, Any]:
    """A Job of one container that passes the Pod Security Standard `restricted`."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    main = {"name": "main", "image": "llm2llm:test", "command": command, "securityContext": security}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [main | (container or {})],
    }
    return {
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": DISRUPTION_RULES,
            "template": {"spec": spec | pod},
        },
    }


def create(api: Cluster, namespace: str, manifest: dict[str, Any]) -> None:
    api.request("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", manifest)


def pods(api: Cluster, namespace: str) -> list[dict[str, Any]]:
    """The namespace's pods, the oldest first."""
    items = api.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return sorted(
        items, key=lambda pod: (pod["metadata"]["creationTimestamp"], int(pod["metadata"]["resourceVersion"]))
    )


def wait_for(what: str, look: Callable[[], T | None], *, timeout: float = 20.0) -> T:
    """Looks until there is something, and returns it."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.03)
    raise AssertionError(f"no {what} within {timeout:.0f} s")


def finished(api: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """The Job when it is Complete or Failed."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")
        ended = [one for one in found["status"].get("conditions", []) if one["type"] in ("Complete", "Failed")]
        return found if ended else None

    return wait_for(f"end of Job {name}", look)


def ended(api: Cluster, namespace: str, name: str = "") -> dict[str, Any]:
    """A pod (of that Job) that has ended; a second earlier than the Job controller says so of the Job."""

    def accept(pod: dict[str, Any]) -> bool:
        return pod["metadata"]["name"].startswith(name) and pod["status"].get("phase") in ("Succeeded", "Failed")

    return pod_where(api, namespace, f"end of pod {name}", accept)


def outcome(job: dict[str, Any]) -> str:
    """Complete or Failed."""
    return str(next(one["type"] for one in job["status"]["conditions"] if one["type"] in ("Complete", "Failed")))


def pod_where(api: Cluster, namespace: str, what: str, accept: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first pod of the namespace for which something holds."""
    return wait_for(what, lambda: next((pod for pod in pods(api, namespace) if accept(pod)), None))


def running(api: Cluster, namespace: str, name: str = "") -> dict[str, Any]:
    """A pod (of that Job) whose container runs."""

    def accept(pod: dict[str, Any]) -> bool:
        return pod["metadata"]["name"].startswith(name) and "running" in container_state(pod)

    return pod_where(api, namespace, f"running pod {name}", accept)


def container_state(pod: dict[str, Any]) -> dict[str, Any]:
    statuses = pod["status"].get("containerStatuses", [])
    return statuses[0]["state"] if statuses else {}


def waiting(pod: dict[str, Any]) -> tuple[str, str]:
    """Reason and message of a container that waits."""
    state = container_state(pod).get("waiting") or {}
    return state.get("reason", ""), state.get("message", "")


def terminated(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = container_state(pod)["terminated"]
    return found


def condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((one for one in pod["status"].get("conditions", []) if one["type"] == kind), {})


def events(api: Cluster, namespace: str, reason: str) -> list[str]:
    """The messages of the events with a reason."""
    items = api.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
    return [one["message"] for one in items if one["reason"] == reason]
