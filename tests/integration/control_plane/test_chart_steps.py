"""What the chart's values make of the pods of steps, on a real API server: its quota admission and its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cluster.controlplane import Cluster
from tests.cluster.processes import wait_until
from tests.support.install import OperatorProcess, operator_environment, rendered
from tests.support.runs import Runs

OF_THE_PODS = ("LLM2LLM_FS_GROUP", "LLM2LLM_IMAGE_PULL_POLICY", "LLM2LLM_IMAGE_PULL_SECRETS", "LLM2LLM_STEP_RESOURCES")


def operator(api: Cluster, runs: Runs, folder: Path, values: dict[str, Any]) -> OperatorProcess:
    """An operator of this namespace with these values of the chart."""
    told = operator_environment(rendered(values=values))
    environment = {name: told[name] for name in OF_THE_PODS} | {"LLM2LLM_NAMESPACES": runs.namespace}
    return OperatorProcess(api, folder, environment=environment)


def set_quota(runs: Runs) -> None:
    """Limits what the pods of the namespace request: a pod that does not say what is refused."""
    path = f"/api/v1/namespaces/{runs.namespace}/resourcequotas"
    hard = {"requests.cpu": "2", "requests.memory": "8Gi"}
    runs.cluster.request("POST", path, {"metadata": {"name": "requests"}, "spec": {"hard": hard}})
    counted = (
        "-n",
        runs.namespace,
        "wait",
        "--for=jsonpath={.status.hard}",
        "resourcequota/requests",
        "--timeout=180s",
    )
    runs.cluster.kubectl(*counted)


def pods(runs: Runs) -> list[dict[str, Any]]:
    return list(runs.cluster.request("GET", f"/api/v1/namespaces/{runs.namespace}/pods")["items"])


def test_a_quota_of_requests_takes_the_pods_of_a_run_that_sets_no_resources(api: Cluster, runs: Runs, tmp_path: Path):
    set_quota(runs)
    values = {"imagePullSecrets": [{"name": "mirror"}], "imagePullPolicy": "Always"}
    with operator(api, runs, tmp_path, values):
        runs.create("r", maxIterations=1)
        wait_until("a pod", lambda: bool(pods(runs)), [], timeout=60)
    [pod] = pods(runs)
    assert pod["status"]["qosClass"] == "Burstable"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "mirror"}]
    [container] = pod["spec"]["containers"]
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == {"requests": {"cpu": "250m", "memory": "1Gi"}}


def test_without_default_requests_the_same_quota_refuses_them(api: Cluster, runs: Runs, tmp_path: Path):
    set_quota(runs)
    with operator(api, runs, tmp_path, {"steps": {"resources": None}}):
        runs.create("r", maxIterations=1)
        runs.wait("r", lambda status: "must specify requests.cpu" in status.get("message", ""))
    assert pods(runs) == []
