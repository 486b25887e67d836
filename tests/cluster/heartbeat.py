"""The Node object and its Lease: registered once, renewed often enough that a lost node is noticed within seconds."""

from __future__ import annotations

import asyncio
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
# Shorter than a kubelet's (10 s, 5 min); the controller manager's grace period is set to match.
LEASE_SECONDS = 1.0
_STATUS_EVERY = 10
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_NODE = f"/api/v1/nodes/{NODE_NAME}"
_CONFLICT = 409
_NOT_FOUND = 404


async def register(api: ApiClient, logs_port: int) -> None:
    """Creates the Node (or takes over its own), reports it Ready and takes its Lease."""
    labels = {"kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    node = {"metadata": {"name": NODE_NAME, "labels": labels}, "status": _status(logs_port)}
    try:
        await api.request("POST", "/api/v1/nodes", node)
    except ApiError as error:
        if error.code != _CONFLICT:
            raise
    await _report(api, logs_port)
    await _renew(api)


async def beat(api: ApiClient, logs_port: int) -> None:
    """Renews the Lease, and now and then the node's status, for ever."""
    count = 0
    while True:
        await asyncio.sleep(LEASE_SECONDS)
        count += 1
        await _renew(api)
        if count % _STATUS_EVERY == 0:
            await _report(api, logs_port)


async def _report(api: ApiClient, logs_port: int) -> None:
    await api.request("PATCH", f"{_NODE}/status", {"status": _status(logs_port)}, content_type=STRATEGIC_MERGE_PATCH)


async def _renew(api: ApiClient) -> None:
    spec = {"holderIdentity": NODE_NAME, "leaseDurationSeconds": 8, "renewTime": _now(micro=True)}
    try:
        await api.request("PATCH", f"{_LEASES}/{NODE_NAME}", {"spec": spec}, content_type=MERGE_PATCH)
    except ApiError as error:
        if error.code != _NOT_FOUND:
            raise
        await api.request("POST", _LEASES, {"metadata": {"name": NODE_NAME}, "spec": spec})


def _status(logs_port: int) -> dict[str, Any]:
    now = _now()
    # A node that was lost comes back with a transition; the time itself is of no interest here.
    condition = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    healthy = [
        {"type": kind, "status": "False", "reason": f"KubeletHasNo{kind}", "message": "", **condition}
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "node agent is ready", **condition}
    return {
        "capacity": ALLOCATABLE,
        "allocatable": ALLOCATABLE,
        "conditions": [*healthy, ready],
        "addresses": [{"type": "InternalIP", "address": HOST_IP}, {"type": "Hostname", "address": NODE_NAME}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": logs_port}},
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
