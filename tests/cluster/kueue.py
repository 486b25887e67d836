"""A real Kueue beside the test cluster: its chart's objects, and its controller as a process of ours.

    with Kueue(cluster, folder) as kueue:
        kueue.stop()  # its webhooks are away
        kueue.start()

The chart is rendered by helm; its Deployment and Service are left out, and webhooks and conversion point at the process
on loopback. Only batch/job is integrated. No root is needed: Kueue looks for the certificate of its metrics at a fixed
path in /etc, and a mount namespace of its own gives it one.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from tests.cluster import binaries, credentials
from tests.cluster.apiclient import MERGE_PATCH
from tests.cluster.controlplane import Cluster
from tests.cluster.processes import Child, free_port, spawn, stop, wait_until

SYSTEM = "kueue-system"
ACCOUNT = "kueue-controller-manager"
LEFT_OUT = ("Deployment", "Service", "APIService", "PodDisruptionBudget")
SERVED = ("batch-v1-job", "kueue-x-k8s-io")
"""In the paths of the webhooks that are kept: those of Jobs and of Kueue's own objects."""
MANAGED_LABEL = "tests.llm2llm.dev/kueue"
"""Of a namespace: with the value `all`, Jobs without a queue name are Kueue's there, too."""
Document = dict[str, Any]


class Kueue:
    """Kueue in a cluster, installed and running within `with`."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._certificates = folder / "certs"
        self._health, self._webhook = free_port(), free_port()
        self._child: Child | None = None

    def __enter__(self) -> Kueue:
        self._certificates.mkdir(parents=True)
        credentials.write_self_signed(self._certificates / "tls.crt", self._certificates / "tls.key")
        self._cluster.create_namespace(SYSTEM, pod_security=None)
        documents = list(self._documents())
        hooks = [document for document in documents if document["kind"].endswith("WebhookConfiguration")]
        others = [document for document in documents if document not in hooks]
        self._apply(others)
        names = [f"crd/{each['metadata']['name']}" for each in others if each["kind"] == "CustomResourceDefinition"]
        self._cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
        self.start()
        self._apply(hooks)  # with nobody behind them they would refuse every Job of the cluster
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the controller and waits until it is ready."""
        configuration = self._folder / "config.yaml"
        configuration.write_text(json.dumps(self._configuration()))
        steps = [
            "mount -t tmpfs none /etc",
            "mkdir -p /etc/kueue/metrics",
            f"ln -s {self._certificates} /etc/kueue/metrics/certs",
            f"exec {binaries.kueue()} --config={configuration} --zap-log-level=2",
        ]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/",
            "KUBECONFIG": str(self._cluster.kubeconfig_for(SYSTEM, ACCOUNT)),
        }
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", " && ".join(steps)]
        self._child = spawn("kueue", command, folder=self._folder, env=environment)
        wait_until("a ready Kueue", self._is_ready, [self._child])

    def stop(self) -> None:
        """Ends the controller; its objects stay, and so does the API server's rule to ask it about every Job."""
        if self._child is not None:
            stop([self._child])
            self._child = None

    def apply(self, *documents: Document) -> None:
        """Creates or changes objects, as administrator."""
        self._apply(list(documents))

    def activate_check(self, check: str) -> None:
        """Makes an AdmissionCheck active, as its controller would: from here on Kueue waits for its answers."""
        active = {"type": "Active", "status": "True", "reason": "Active", "message": "", "lastTransitionTime": _now()}
        path = f"/apis/kueue.x-k8s.io/v1beta2/admissionchecks/{check}/status"
        self._cluster.request("PATCH", path, {"status": {"conditions": [active]}}, content_type=MERGE_PATCH)

    def answer_check(self, namespace: str, workload: str, check: str, state: str, message: str) -> None:
        """Answers for one Workload, as the check's controller would; after Retry it is tried again in an hour."""
        answer: Document = {"name": check, "state": state, "message": message, "lastTransitionTime": _now()}
        if state == "Retry":
            answer["requeueAfterSeconds"] = 3600
        path = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{namespace}/workloads/{workload}/status"
        self._cluster.request("PATCH", path, {"status": {"admissionChecks": [answer]}}, content_type=MERGE_PATCH)

    def workloads(self, namespace: str) -> list[Document]:
        """The Workloads of a namespace."""
        path = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{namespace}/workloads"
        return list(self._cluster.request("GET", path)["items"])

    def log_tail(self) -> str:
        """The end of its log."""
        return self._child.log_tail() if self._child else ""

    def _apply(self, documents: list[Document]) -> None:
        text = yaml.safe_dump_all(documents)
        self._cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _configuration(self) -> Document:
        return {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": SYSTEM,
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._health}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": "127.0.0.1", "port": self._webhook, "certDir": str(self._certificates)},
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": False},
            "clientConnection": {"qps": 50, "burst": 100},
            "integrations": {"frameworks": ["batch/job"]},
            "manageJobsWithoutQueueName": True,
            "managedJobsNamespaceSelector": {"matchLabels": {MANAGED_LABEL: "all"}},
            "featureGates": {
                "VisibilityOnDemand": False,  # an API server of its own
                "ManagedJobsNamespaceSelectorAlwaysRespected": False,  # queue names count everywhere, as before Kueue 0.15
            },
        }

    def _documents(self) -> Iterator[Document]:
        """Yields the chart's objects, with webhooks and conversion at the process."""
        chart = binaries.kueue().with_name("chart")
        command = [str(binaries.helm()), "template", "kueue", str(chart), "--namespace", SYSTEM]
        command += ["--kube-version", binaries.KUBERNETES_VERSION]
        rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        client = {
            "url": f"https://127.0.0.1:{self._webhook}",
            "caBundle": base64.b64encode((self._certificates / "tls.crt").read_bytes()).decode(),
        }
        for document in yaml.safe_load_all(rendered):
            if not document or document["kind"] in LEFT_OUT:
                continue
            if document["kind"].endswith("WebhookConfiguration"):
                document["webhooks"] = list(_at(client, document["webhooks"]))
            if "conversion" in document.get("spec", {}):
                conversion = client | {"url": f"{client['url']}/convert"}
                document["spec"]["conversion"]["webhook"]["clientConfig"] = conversion
            yield document


def _at(client: dict[str, str], hooks: list[Document]) -> Iterator[Document]:
    """Yields the webhooks that are served, with the process in the place of the chart's Service."""
    for hook in hooks:
        path = hook["clientConfig"]["service"]["path"]
        if any(part in path for part in SERVED):
            yield hook | {"clientConfig": client | {"url": client["url"] + path}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
