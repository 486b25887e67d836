"""The chart, installed as a user would have it but for its Deployment: the operator then runs as a process of ours.

RBAC has one home, the chart: what the tests and the demo run under is what a cluster gets.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster import binaries
from tests.cluster.controlplane import Cluster, RequestError
from tests.cluster.jsonlines import read_json_lines
from tests.cluster.processes import Child, free_port, spawn, stop, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
CHART = CHECKOUT / "charts" / "llm2llm-operator"
RELEASE = "llm2llm"
SYSTEM = "llm2llm-system"
READY_SECONDS = 180
IMAGES = {
    f"LLM2LLM_IMAGE_{stage}": f"llm2llm/{stage.lower()}:test" for stage in ("PREPARE", "TRAIN", "EVALUATE", "GENERATE")
}


SETTINGS = ("deployment.enabled=false", "deleteFinishedRuns=true", "kueue.readWorkloads=true")
"""The chart's values here: the operator is a process of ours, and every switch that gives it a right is on."""


def render(*settings: str, values: Mapping[str, Any] | None = None) -> str:
    """The chart's manifests with its CRD, as `helm template` gives them for `--set` and for a file of values."""
    command = [str(binaries.helm()), "template", RELEASE, str(CHART), "--namespace", SYSTEM]
    command += ["--kube-version", binaries.KUBERNETES_VERSION, "--values", "-"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, input=json.dumps(values or {}), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"helm template failed: {done.stderr.strip()}")
    return done.stdout


def rendered(*settings: str, values: Mapping[str, Any] | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    """The same by kind and name."""
    documents = parse_manifests(render(*settings, values=values))
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def parse_manifests(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML stream, by the parser in C: the one in Python takes two seconds for the CRD."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def operator_container(chart: Mapping[tuple[str, str], dict[str, Any]], name: str = RELEASE) -> dict[str, Any]:
    """The container of the Deployment of this name."""
    [container] = chart["Deployment", name]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def operator_environment(chart: Mapping[tuple[str, str], dict[str, Any]], name: str = RELEASE) -> dict[str, str]:
    """The variables of that container that have a value."""
    return {entry["name"]: entry["value"] for entry in operator_container(chart, name)["env"] if "value" in entry}


def helm(cluster: Cluster, *arguments: str) -> str:
    """Runs helm as administrator and returns what it printed.

    Raises:
        RuntimeError: it failed; the message is helm's.
    """
    command = [str(binaries.helm()), "--kubeconfig", str(cluster.kubeconfig), "--namespace", SYSTEM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def install(cluster: Cluster, *settings: str) -> None:
    """Applies the chart with these values, and waits until the API server serves AugmentationRuns."""
    try:
        cluster.create_namespace(SYSTEM)
    except RequestError as error:
        if error.code != 409:  # installed before
            raise
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=render(*(settings or SETTINGS)))
    # tried again, because kubectl gives up at a CRD that has no conditions yet
    established = ("wait", "--for=condition=Established", "crd/augmentationruns.llm2llm.dev", "--timeout=30s")
    wait_until("an established CRD", lambda: "condition met" in cluster.kubectl(*established, check=False), [])
    # discovery follows a moment later, and `kubectl explain` believes what it has cached until somebody asks anew
    fresh = ("api-resources", "--api-group=llm2llm.dev", "--no-headers")
    wait_until("discovery of AugmentationRuns", lambda: "arun" in cluster.kubectl(*fresh, check=False), [])


class OperatorProcess:
    """The operator as a separate process under the chart's ServiceAccount.

    Alone by default: with `elected` it takes part in the election, and waits up to 15 s for a predecessor that was
    killed.

    With `uid` it runs as this user, in a user namespace of its own: one without a passwd entry, as in its image.

    Attributes:
        folder: where its log lies.
        port: where it serves /metrics, /healthz and /readyz.
        seconds_to_ready: from its last start until its caches were whole.
    """

    def __init__(self, cluster: Cluster, folder: Path, *, name: str = "operator", detached: bool = False,
                 elected: bool = False, uid: int | None = None, environment: Mapping[str, str] | None = None) -> None:  # fmt: skip
        self.folder = folder
        self.port = 0
        self.seconds_to_ready = 0.0
        self._cluster = cluster
        self._name = name
        self._detached = detached
        self._elected = elected
        self._uid = uid
        self._environment = dict(environment or {})
        self.child: Child | None = None

    def __enter__(self) -> OperatorProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        kubeconfig = self._cluster.kubeconfig_for(SYSTEM, RELEASE)
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT / "operator"), str(CHECKOUT / "images")]),
            "LLM2LLM_HTTP_HOST": "127.0.0.1",
            "LLM2LLM_HTTP_PORT": str(self.port),
            "LLM2LLM_BACKOFF_SECONDS": "1",
            "LLM2LLM_NAMESPACE": SYSTEM,
            "LLM2LLM_LEASE": RELEASE,
            "LLM2LLM_LEADER_ELECTION": "true" if self._elected else "false",
            "LLM2LLM_KUEUE": "true",
            "LLM2LLM_IDENTITY": self.identity,
        }
        command = [sys.executable, "-m", "llm2llm_operator.main"]
        if self._uid is not None:
            environment["HOME"] = "/"  # as a container runtime sets it for a user without a home
            command = ["unshare", "--user", f"--map-user={self._uid}", f"--map-group={self._uid}", *command]
        self.child = spawn(
            self._name,
            command,
            folder=self.folder,
            env=environment | IMAGES | self._environment,
            detached=self._detached,
        )
        began = time.monotonic()
        wait_until("a ready operator", self.ready, [self.child], timeout=READY_SECONDS)
        self.seconds_to_ready = time.monotonic() - began

    @property
    def identity(self) -> str:
        """What it is called in the lease and in the audit log, another one after each start."""
        return f"{self._name}-{self.port}"

    def ready(self) -> bool:
        """Whether /readyz says so."""
        return self._get("readyz") is not None

    def healthy(self) -> bool:
        """Whether /healthz says so."""
        return self._get("healthz") is not None

    def leads(self) -> bool:
        """Whether its metric says that it may write."""
        return "\nllm2llm_leader 1.0" in (self._get("metrics") or "")

    def metrics(self) -> dict[tuple[str, ...], float]:
        """What it serves at /metrics: name and label values, in the order of the labels' names, to value."""
        text = self._get("metrics")
        if text is None:
            raise RuntimeError(f"the operator serves no metrics:\n{self.log()}")
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(one.name, *(one.labels[label] for label in sorted(one.labels))): one.value for one in samples}

    def _get(self, page: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def kill(self) -> None:
        """SIGKILL, as a node failure or the kernel would."""
        if self.child is not None and self.child.alive():
            os.kill(self.child.pid, 9)
            wait_until("the end of the operator", lambda: not (self.child and self.child.alive()), [])

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after a grace."""
        if self.child is not None:
            stop([self.child])

    def log(self) -> str:
        """What it logged so far."""
        return self.child.log_tail(100_000) if self.child else ""

    def log_entries(self) -> list[dict[str, Any]]:
        """All that it logged so far, parsed."""
        return list(read_json_lines(self.child.log)) if self.child else []
