"""What the people of one namespace do stays without effect on the runs of another."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.processes import wait_until
from tests.support import builders
from tests.support.install import OperatorProcess
from tests.support.podender import Ending, PodEnder, report_of, succeed
from tests.support.runs import Document, Runs

from llm2llm.api.run import API_VERSION, KIND
from llm2llm.loop.outcomes import StepId
from llm2llm.podenv import CONTAINER
from llm2llm.records import Stage, StepDocument
from llm2llm_operator.build.job import job_name
from llm2llm_operator.constants import LABEL_RUN, LABEL_RUN_UID

FORGED = "sha256:forged"


def play(step: StepDocument) -> Ending:
    """Steps of the other namespace end well, too, with a digest that shows whom they deceived."""
    honest = report_of(step)
    return (
        Ending(message=honest.model_copy(update={"digest": FORGED}).to_json())
        if step.run == "forged"
        else succeed(step)
    )


@pytest.fixture(scope="module")
def victims(api: Cluster) -> Iterator[Runs]:
    for namespace in ("victims", "trespassers"):
        api.create_namespace(namespace)
    yield Runs(api, "victims")
    for namespace in ("victims", "trespassers"):
        api.request("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.fixture(scope="module")
def operator(api: Cluster, victims: Runs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """It watches all namespaces, with one watch for the pods of all."""
    with (
        PodEnder(api, seconds=0.2, script=play),
        OperatorProcess(api, tmp_path_factory.mktemp("operator")) as process,
    ):
        yield process


def held_run(victims: Runs, name: str) -> tuple[dict[str, str], Document, str]:
    """A suspended run: its labels, a reference to it as owner, and the name of its first Job."""
    uid = victims.create(name, maxIterations=1, suspend=True)["metadata"]["uid"]
    victims.wait(name, lambda status: status.get("phase") == "Suspended")
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": name, "uid": uid, "controller": True}
    return {LABEL_RUN: name, LABEL_RUN_UID: uid}, owner, job_name(name, uid, StepId(Stage.PREPARE), 0)


def pod_spec(**changes: Any) -> Document:
    """A pod that the namespace's Pod Security Standard, restricted, admits."""
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": CONTAINER, "image": "i", "securityContext": rights} | changes.pop("container", {})
    identity = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"restartPolicy": "Never", "containers": [container], "securityContext": identity, **changes}


def create(victims: Runs, path: str, kind: str, metadata: Document, spec: Document) -> None:
    body = {"kind": kind, "metadata": metadata, "spec": spec}
    version = "v1" if kind == "Pod" else "batch/v1"
    victims.cluster.request("POST", f"{path}/namespaces/trespassers/{kind.lower()}s", body | {"apiVersion": version})


def test_fault_54_a_pod_with_a_runs_labels_does_not_hold_it(operator: OperatorProcess, victims: Runs) -> None:
    labels, owner, _ = held_run(victims, "held")
    metadata = {"name": "never-scheduled", "labels": labels, "ownerReferences": [owner]}
    create(victims, "/api/v1", "Pod", metadata, pod_spec(nodeSelector={"no": "where"}))
    victims.patch("held", suspend=False)
    assert victims.wait_for_end("held")["phase"] == "Succeeded"


def test_fault_54_a_job_of_another_namespace_with_a_runs_next_name_is_not_in_its_way(
    operator: OperatorProcess, victims: Runs
) -> None:
    labels, _, name = held_run(victims, "named")
    spec = {"suspend": True, "template": {"spec": pod_spec()}}
    create(victims, "/apis/batch/v1", "Job", {"name": name, "labels": labels}, spec)
    victims.patch("named", suspend=False)
    assert victims.wait_for_end("named")["phase"] == "Succeeded"


def test_fault_54_a_job_with_a_forged_owner_and_report_is_not_believed(
    operator: OperatorProcess, victims: Runs
) -> None:
    labels, owner, name = held_run(victims, "forged-for")
    step = StepDocument(
        stage=Stage.PREPARE, namespace="victims", run="forged", run_uid=owner["uid"], spec=builders.spec()
    )
    environment = [{"name": "LLM2LLM_STEP", "value": step.to_environment()}]
    template = {"metadata": {"labels": labels}, "spec": pod_spec(container={"env": environment})}
    metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
    create(victims, "/apis/batch/v1", "Job", metadata, {"backoffLimit": 0, "template": template})
    victims.patch("forged-for", suspend=False)
    status = victims.wait_for_end("forged-for")
    assert status["phase"] == "Succeeded", status["message"]
    assert FORGED not in json.dumps(status)


@pytest.fixture
def deep_json() -> Iterator[None]:
    """Lets this process, which is not the operator, write documents of many levels."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(limit)


def deep(levels: int) -> Document:
    document: Document = {}
    for _ in range(levels):
        document = {"f:x": document}
    return document


@pytest.mark.usefixtures("deep_json")
@pytest.mark.parametrize("levels", [1_100, 5_000])
def test_fault_53_an_affinity_without_end_is_pruned(operator: OperatorProcess, victims: Runs, levels: int) -> None:
    """Kubernetes types affinity, and so does the CRD."""
    name = f"deep-{levels}"
    written = victims.create(name, suspend=True, podOverrides={"affinity": {"nodeAffinity": deep(levels)}})
    assert written["spec"]["podOverrides"]["affinity"] == {"nodeAffinity": {}}
    assert victims.wait(name, lambda status: status.get("phase") == "Suspended")


@pytest.mark.usefixtures("deep_json")
def test_fault_53_managed_fields_without_end_stop_no_watch(operator: OperatorProcess, victims: Runs) -> None:
    labels, _, _ = held_run(victims, "beside")
    fields = {
        "manager": "deep",
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": deep(1_500),
    }
    metadata = {"name": "deep", "labels": labels, "managedFields": [fields]}
    create(victims, "/api/v1", "Pod", metadata, pod_spec(nodeSelector={"no": "where"}))
    victims.patch("beside", suspend=False)
    assert victims.wait_for_end("beside")["phase"] == "Succeeded"
    before = pods_reported(operator)
    create(victims, "/api/v1", "Pod", {"name": "later", "labels": labels}, pod_spec(nodeSelector={"no": "where"}))
    wait_until("an event of a later pod", lambda: pods_reported(operator) > before, [], timeout=180)
    assert operator.metrics()["llm2llm_watch_restarts_total",] == 0


def pods_reported(operator: OperatorProcess) -> float:
    return operator.metrics()["llm2llm_watch_events_total", "pods"]
