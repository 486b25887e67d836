"""PURE: the command lines of the control plane's parts, each flag with its reason where it is not the obvious one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Files in the cluster's folder.
AUDIT_LOG = "audit.log"
AUDIT_POLICY_FILE = "audit-policy.json"
AUTHORITY = "certs/apiserver.crt"
SIGNING_KEY = "service-accounts.key"
TOKENS = "tokens.csv"

CONTROLLERS = (
    "job-controller",
    "garbage-collector-controller",
    "ttl-after-finished-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "pod-garbage-collector-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "resourcequota-controller",
    "disruption-controller",
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "replicaset-controller",
    "persistentvolume-binder-controller",
    # Without these two a claim's finalizer is never taken away, and its namespace never goes.
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
)

# One line for each finished request, without bodies: what a test needs to count writes.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["/readyz*", "/healthz*", "/livez*", "/openapi/*"]},
        {"level": "Metadata"},
    ],
}


def etcd(folder: Path, clients: int, peers: int) -> list[str]:
    """etcd on two loopback ports."""
    store, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    flags = {
        "data-dir": folder / "etcd",
        "listen-client-urls": store,
        "advertise-client-urls": store,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "unsafe-no-fsync": "true",  # a machine that loses power loses the test run anyway
        "log-level": "warn",
    }
    return ["etcd", *_flags(flags)]


def apiserver(folder: Path, port: int, clients: int, bind: str = "127.0.0.1") -> list[str]:
    """The API server, over etcd's client port. It makes its own certificate, which is also the authority for clients."""
    flags = {
        "etcd-servers": f"http://127.0.0.1:{clients}",
        "bind-address": bind,
        "advertise-address": "127.0.0.1",
        "endpoint-reconciler-type": "none",  # newer ones refuse to write a loopback address into them; nobody asks
        "secure-port": port,
        "cert-dir": (folder / AUTHORITY).parent,
        "token-auth-file": folder / TOKENS,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction,OwnerReferencesPermissionEnforcement",  # the latter as OpenShift
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": folder / SIGNING_KEY,
        "service-account-signing-key-file": folder / SIGNING_KEY,
        "service-cluster-ip-range": "10.96.0.0/16",
        "kubelet-preferred-address-types": "InternalIP",
        "audit-policy-file": folder / AUDIT_POLICY_FILE,
        "audit-log-path": folder / AUDIT_LOG,
        "max-requests-inflight": 1000,
        "max-mutating-requests-inflight": 500,
        "profiling": "false",
    }
    return ["apiserver", *_flags(flags)]


def controller_manager(folder: Path, kubeconfig: Path) -> list[str]:
    """The controller manager, with raised limits so that a test does not wait for its client."""
    flags = {
        "kubeconfig": kubeconfig,
        "controllers": ",".join(CONTROLLERS),
        "service-account-private-key-file": folder / SIGNING_KEY,
        "root-ca-file": folder / AUTHORITY,
        "use-service-account-credentials": "true",  # else it may not create pods
        "leader-elect": "false",
        "secure-port": 0,
        "kube-api-qps": 500,
        "kube-api-burst": 1000,
        "concurrent-job-syncs": 20,
        # The node agent renews its Lease every second; a lost node is to be noticed in seconds, not in a minute.
        "node-monitor-period": "1s",
        "node-monitor-grace-period": "8s",
        "node-eviction-rate": 10,
    }
    return ["controller-manager", *_flags(flags)]


def scheduler(kubeconfig: Path) -> list[str]:
    """The scheduler."""
    flags = {
        "kubeconfig": kubeconfig,
        "leader-elect": "false",
        "secure-port": 0,
        "kube-api-qps": 500,
        "kube-api-burst": 1000,
    }
    return ["scheduler", *_flags(flags)]


def _flags(flags: dict[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
