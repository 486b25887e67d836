"""The Node object and its Lease: registered once, renewed often enough that a lost node is noticed within seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.cluster.apiclient import MERGE_PATCH, STRATEGIC_MERGE_PATCH, ApiClient, ApiError
from tests.cluster.binaries import KUBERNETES_VERSION
from tests.cluster.credentials import NODE_NAME

HOST_IP = "127.0.0.1"
GPUS = 8
# Of the API's size, not of this machine's: the tests are about scheduling by GPU.
ALLOCATABLE = {
    "cpu": "128",
    "memory": "1024Gi",
    "ephemeral-storage": "1024Gi",
    "pods": "500",
    "nvidia.com/gpu": str(GPUS),
}


@dataclass(frozen=True)
class NodeObject:
    """A Node as its agent reports it; `logs_port` is where the API server finds the agent's own API."""

    name: str
    allocatable: Mapping[str, str]
    logs_port: int
    taints: tuple[Mapping[str, str], ...] = ()

    @property
    def path(self) -> str:
        return f"/api/v1/nodes/{self.name}"


def worker(logs_port: int) -> NodeObject:
    """The node that runs pods."""
    return NodeObject(NODE_NAME, ALLOCATABLE, logs_port)


def control_plane() -> NodeObject:
    """A second node, where no pod of ours may go. Without it the loss of the worker would be the loss of all nodes, and
    then the node-lifecycle controller suspects itself and evicts nothing (its "master disruption mode")."""
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    return NodeObject("control-plane", {"cpu": "4", "memory": "16Gi", "pods": "110"}, 0, (taint,))


# Shorter than a kubelet's (10 s, 5 min); the controller manager's grace period is set to match.
LEASE_SECONDS = 1.0
_STATUS_EVERY = 10
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_CONFLICT = 409
_NOT_FOUND = 404


async def register(api: ApiClient, node: NodeObject) -> None:
    """Creates the Node (or takes over its own), reports it Ready and takes its Lease."""
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    spec = {"taints": [dict(taint) for taint in node.taints]}
    body = {"metadata": {"name": node.name, "labels": labels}, "spec": spec, "status": _status(node)}
    try:
        await api.request("POST", "/api/v1/nodes", body)
    except ApiError as error:
        if error.code != _CONFLICT:
            raise
    await _report(api, node)
    await _renew(api, node)


async def beat(api: ApiClient, node: NodeObject) -> None:
    """Renews the Lease, and now and then the node's status, for ever."""
    count = 0
    while True:
        await asyncio.sleep(LEASE_SECONDS)
        count += 1
        await _renew(api, node)
        if count % _STATUS_EVERY == 0:
            await _report(api, node)


async def _report(api: ApiClient, node: NodeObject) -> None:
    await api.request("PATCH", f"{node.path}/status", {"status": _status(node)}, content_type=STRATEGIC_MERGE_PATCH)


async def _renew(api: ApiClient, node: NodeObject) -> None:
    spec = {"holderIdentity": node.name, "leaseDurationSeconds": 8, "renewTime": _now(micro=True)}
    try:
        await api.request("PATCH", f"{_LEASES}/{node.name}", {"spec": spec}, content_type=MERGE_PATCH)
    except ApiError as error:
        if error.code != _NOT_FOUND:
            raise
        await api.request("POST", _LEASES, {"metadata": {"name": node.name}, "spec": spec})


def _status(node: NodeObject) -> dict[str, Any]:
    now = _now()
    # A node that was lost comes back with a transition; the time itself is of no interest here.
    condition = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    healthy = [
        {"type": kind, "status": "False", "reason": f"KubeletHasNo{kind}", "message": "", **condition}
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "node agent is ready", **condition}
    return {
        "capacity": dict(node.allocatable),
        "allocatable": dict(node.allocatable),
        "conditions": [*healthy, ready],
        "addresses": [{"type": "InternalIP", "address": HOST_IP}, {"type": "Hostname", "address": node.name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": node.logs_port}},
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "kubeletVersion": f"v{KUBERNETES_VERSION}",
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "process://1",
            "kernelVersion": "",
            "osImage": "test node",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }


def _now(*, micro: bool = False) -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
