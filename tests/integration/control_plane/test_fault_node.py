"""A node that is lost while a step runs on it: no second pod beside the first, and another one once it is out of service."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import Cluster
from tests.support.install import OperatorProcess
from tests.support.podender import Ending, PodEnder, succeed
from tests.support.runs import Document, Runs, condition

from llm2llm.records import Stage, StepDocument

LOST = "lost-node"
NODE = f"/api/v1/nodes/{LOST}"
TAINT = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
"""What an administrator sets on a node that is gone for good (Kubernetes, non-graceful node shutdown)."""


def never_ends(step: StepDocument) -> Ending:
    return Ending(seconds=math.inf) if step.stage is Stage.TRAIN else succeed(step)


def pods(runs: Runs, name: str) -> list[Document]:
    path = (
        f"/api/v1/namespaces/{runs.namespace}/pods?labelSelector=llm2llm.dev%2Frun%3D{name},llm2llm.dev%2Fstage%3Dtrain"
    )
    return list(runs.cluster.request("GET", path)["items"])


def trains(status: Document) -> bool:
    return {"stage": "Train", "state": "Running"}.items() <= (status.get("currentStep") or {}).items()


def is_unreachable(api: Cluster) -> bool:
    taints: list[Document] = api.request("GET", NODE)["spec"].get("taints", [])
    return any(taint["key"] == "node.kubernetes.io/unreachable" for taint in taints)


def test_fault_25_a_lost_node_keeps_its_pod_until_a_deadline_or_a_person_ends_that_and_then_it_is_replaced(
    api: Cluster, runs: Runs, tmp_path: Path
):
    environment = {"LLM2LLM_NAMESPACES": runs.namespace}
    with OperatorProcess(api, tmp_path, environment=environment):
        with PodEnder(api, seconds=0.3, script=never_ends, node=LOST) as node:
            runs.create("patient", maxIterations=1)
            runs.create("bounded", maxIterations=1, train={"activeDeadlineSeconds": 12})
            for name in ("patient", "bounded"):
                runs.wait(name, trains)
            node.lose()
        with PodEnder(api, seconds=0.3):  # another node, where a second pod could run
            wait("a lost node", lambda: is_unreachable(api))
            status = runs.wait_for_end("bounded", timeout=180)
            assert condition(status, "Failed")["reason"] == "DeadlineExceeded"
            assert pods(runs, "bounded")[0]["metadata"]["name"] in status["message"]
            runs.patch("bounded", retry=1, train={"activeDeadlineSeconds": 600})  # what it ran stays counted
            status = runs.wait("bounded", lambda status: status.get("retry") == 1)
            assert condition(status, "Progressing")["reason"] == "PodStuckTerminating"
            assert [len(pods(runs, name)) for name in ("patient", "bounded")] == [1, 1]
            assert trains(runs.status("patient"))
            api.request(
                "PATCH", NODE, {"spec": {"taints": [TAINT]}}, content_type="application/strategic-merge-patch+json"
            )
            assert {runs.wait_for_end(name, timeout=180)["phase"] for name in ("patient", "bounded")} == {"Succeeded"}
    api.request("DELETE", NODE)
    [trained] = [step for step in runs.status("patient")["iterations"][0]["steps"] if step["stage"] == "Train"]
    assert trained["attempt"] == 0  # the Job replaced its pod
    [trained] = [step for step in runs.status("bounded")["iterations"][0]["steps"] if step["stage"] == "Train"]
    assert trained["attempt"] == 1


def test_a_run_that_is_deleted_in_the_foreground_stays_until_its_pod_is_gone(api: Cluster, runs: Runs, tmp_path: Path):
    path = f"/apis/llm2llm.dev/v1alpha1/namespaces/{runs.namespace}/augmentationruns/doomed"
    environment = {"LLM2LLM_NAMESPACES": runs.namespace}
    with OperatorProcess(api, tmp_path, environment=environment):
        with PodEnder(api, seconds=0.3, script=never_ends, node=LOST) as node:
            runs.create("doomed", maxIterations=1)
            runs.wait("doomed", trains)
            node.lose()
        api.request("DELETE", path, {"propagationPolicy": "Foreground"})
        wait("the deletion of its pod", lambda: "deletionTimestamp" in pods(runs, "doomed")[0]["metadata"])
        time.sleep(2)  # nothing tells that nothing more will happen
        assert "deletionTimestamp" in api.request("GET", path)["metadata"]
        api.request("DELETE", NODE)  # which ends its pods
        runs.wait_until_gone("doomed")
    assert pods(runs, "doomed") == []


def wait(what: str, done: Any, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"no {what} after {seconds:.0f} s"
        time.sleep(0.5)
