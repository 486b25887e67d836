"""The chart's ValidatingAdmissionPolicies: what the operator's token is worth, and what a run may ask for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.controlplane import Cluster, RequestError
from tests.support import builders
from tests.support.install import RELEASE, SYSTEM, OperatorProcess, render
from tests.support.podender import PodEnder
from tests.support.runs import Runs

LABEL = "llm2llm.dev/runs"
POLICIES = "/apis/admissionregistration.k8s.io/v1"
Document = dict[str, Any]

VALUES = {
    "admission": {
        "operator": {"enabled": True, "namespaceLabel": LABEL},
        "runs": {
            "enabled": True,
            "imagePrefixes": ["registry.example.com/llm2llm/", "quay.io/team/"],
            "serviceAccountNames": ["trainer"],
            "secretNames": ["s3", "teacher"],
            "maxGPUsPerStep": 2,
            "maxGPUHours": 10,
            "maxCost": 12.5,
            "namespaceSelector": {"matchLabels": {LABEL: "true"}},
        },
    }
}
BUDGET = {"maxGPUHours": "10", "maxCost": "12.5", "prices": {"gpuHour": "1"}}


@pytest.fixture(scope="module")
def opted_in(api: Cluster) -> Iterator[Runs]:
    """The runs of a namespace with the label, under both policies; they go with the module."""
    api.create_namespace("opted-in")
    api.kubectl("label", "namespace", "opted-in", f"{LABEL}=true")
    policies = [one for one in yaml.safe_load_all(render(values=VALUES)) if one and "AdmissionPolicy" in one["kind"]]
    assert len(policies) == 4
    api.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(policies))
    runs = Runs(api, "opted-in")
    wait_for_refusal(lambda: create_run(runs, "waits", budget={}), "must be set")
    token = token_of_the_operator(api)
    wait_for_refusal(lambda: create_job(runs, token, job("waits", owned=False)), "controls")
    yield runs
    for policy in policies:
        kind = "validatingadmissionpolic" + ("ybindings" if policy["kind"].endswith("Binding") else "ies")
        api.request("DELETE", f"{POLICIES}/{kind}/{policy['metadata']['name']}")
    wait_until_taken(lambda: create_job(runs, token, job("after", owned=False)))  # other modules have this cluster, too
    api.request("DELETE", "/api/v1/namespaces/opted-in")


def wait_for_refusal(create: Any, words: str) -> None:
    """A policy takes a moment until it is in force."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            create()
        except RequestError as error:
            if words in error.message:
                return
            if error.code != 409:  # created before
                raise
        time.sleep(0.3)
    raise AssertionError(f"nothing was refused for {words}")


def token_of_the_operator(api: Cluster) -> str:
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{RELEASE}/token"
    return str(api.request("POST", path, {"spec": {}})["status"]["token"])


def create_run(runs: Runs, name: str, **spec: Any) -> Document:
    return runs.create(name, suspend=True, **{"budget": BUDGET, **spec})


def create_job(runs: Runs, token: str, body: Document) -> Any:
    path = f"/apis/batch/v1/namespaces/{runs.namespace}/jobs"
    return runs.cluster.request("POST", path, body, token=token)


def job(name: str, *, owned: bool = True, pod: Document | None = None, container: Document | None = None) -> Document:
    """A suspended Job such as the operator's, or not quite."""
    owner = {"apiVersion": "llm2llm.dev/v1alpha1", "kind": "AugmentationRun", "name": "r", "uid": builders.UID, "controller": True}  # fmt: skip
    template = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [{"name": "step", "image": "i", **(container or {})}],
        **(pod or {}),
    }
    metadata = {"name": name, **({"ownerReferences": [owner]} if owned else {})}
    spec = {"suspend": True, "template": {"spec": template}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


WORTHLESS = {
    "no run controls it": (job("a", owned=False), "only Jobs that an AugmentationRun controls"),
    "the node's files": (job("b", pod={"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), "hostPath"),
    "the node's network": (job("c", pod={"hostNetwork": True}), "a namespace of the host"),
    "the node's processes": (job("d", pod={"hostPID": True}), "a namespace of the host"),
    "a token": (job("e", pod={"automountServiceAccountToken": True}), "a token of the API server"),
    "a token by default": (job("f", pod={"automountServiceAccountToken": None}), "a token of the API server"),
    "privileges": (job("g", container={"securityContext": {"privileged": True}}), "privileged"),
    "privileges at its start": (
        job("h", pod={"initContainers": [{"name": "i", "image": "i", "securityContext": {"privileged": True}}]}),
        "privileged",
    ),
}


@pytest.mark.parametrize("what", WORTHLESS)
def test_a_stolen_token_of_the_operator_makes_no_such_job(opted_in: Runs, what: str):
    body, words = WORTHLESS[what]
    with pytest.raises(RequestError, match=words) as refusal:
        create_job(opted_in, token_of_the_operator(opted_in.cluster), body)
    assert refusal.value.code == 422


def test_nor_any_job_in_a_namespace_that_has_not_opted_in(opted_in: Runs, runs: Runs):
    with pytest.raises(RequestError, match=f"has not opted in .* {LABEL}=true"):
        create_job(runs, token_of_the_operator(runs.cluster), job("a"))


def test_others_may_create_what_they_could_before(opted_in: Runs):
    opted_in.cluster.request("POST", f"/apis/batch/v1/namespaces/{opted_in.namespace}/jobs", job("mine", owned=False))


def test_a_run_goes_to_its_end_under_both_policies(opted_in: Runs, tmp_path: Path):
    environment = {"LLM2LLM_NAMESPACES": opted_in.namespace}
    with PodEnder(opted_in.cluster, seconds=0.2), OperatorProcess(opted_in.cluster, tmp_path, environment=environment):
        opted_in.create("allowed", maxIterations=1, budget=BUDGET)
        assert opted_in.wait_for_end("allowed")["phase"] == "Succeeded"


def data(**changes: Any) -> Document:
    return {**builders.spec()["data"], **changes}


REFUSED: dict[str, tuple[Document, str]] = {
    "another image": ({"train": {"image": "docker.io/miner:1"}}, "must begin with registry.example.com/llm2llm/ or"),
    "a prefix in the middle": ({"evaluate": {"image": "evil.io/quay.io/team/x"}}, "must begin with"),
    "a ServiceAccount": ({"podOverrides": {"serviceAccountName": "admin"}}, "serviceAccountName must be trainer, or empty"),
    "a Secret to pull with": ({"podOverrides": {"imagePullSecrets": [{"name": "root"}]}}, "the Secrets s3, teacher"),
    "a Secret as a volume": (
        {"podOverrides": {"volumes": [{"name": "v", "secret": {"secretName": "root"}}]}},
        "the Secrets s3, teacher",
    ),
    "a Secret for the rows": (
        {"data": data(evaluation={"uri": "s3://b/e.jsonl", "credentialsSecretRef": {"name": "root"}})},
        "the Secrets s3, teacher",
    ),
    "a Secret for MLflow": (
        {"tracking": {"mlflow": {"uri": "https://mlflow", "credentialsSecretRef": {"name": "root"}}}},
        "the Secrets s3, teacher",
    ),
    "a Secret for the Hub": ({"student": {"model": {"uri": "hf://a/b"}, "tokenSecretRef": {"name": "root", "key": "k"}}}, "the Secrets"),
    "many GPUs": ({"train": {"resources": {"limits": {"nvidia.com/gpu": "3"}}}}, "at most 2 GPUs"),
    "others' GPUs": ({"evaluate": {"resources": {"limits": {"amd.com/gpu": "3"}}}}, "at most 2 GPUs"),
    "hours": ({"budget": BUDGET | {"maxGPUHours": "10.5"}}, "maxGPUHours must be set, to at most 10"),
    "no hours": ({"budget": {"maxCost": "1", "prices": {"gpuHour": "1"}}}, "maxGPUHours must be set, to at most 10"),
    "cost": ({"budget": BUDGET | {"maxCost": "13"}}, r"maxCost must be set, to at most 12\.5"),
}  # fmt: skip
ALLOWED: dict[str, Document] = {
    "plain": {},
    "an image": {"train": {"image": "quay.io/team/trainer:1"}},
    "names": {"podOverrides": {"serviceAccountName": "trainer", "imagePullSecrets": [{"name": "s3"}]}},
    "volumes": {"podOverrides": {"volumes": [{"name": "v", "secret": {"secretName": "s3"}}, {"name": "e", "emptyDir": {}}]}},
    "gpus": {"train": {"resources": {"limits": {"nvidia.com/gpu": "2", "memory": "64Gi"}}}},
    "less": {"budget": {"maxGPUHours": "0.5", "maxCost": "1", "prices": {"gpuHour": "1"}}},
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_run_that_asks_for_more_than_the_limits_is_refused_with_their_words(opted_in: Runs, what: str):
    spec, words = REFUSED[what]
    with pytest.raises(RequestError, match=words):
        create_run(opted_in, "more", **spec)


@pytest.mark.parametrize("what", ALLOWED)
def test_a_run_within_the_limits_is_taken(opted_in: Runs, what: str):
    create_run(opted_in, what.replace(" ", "-"), **ALLOWED[what])


def test_a_stored_run_beyond_the_limits_is_labeled_and_deleted_but_not_edited(opted_in: Runs):
    cluster, path = opted_in.cluster, f"/apis/llm2llm.dev/v1alpha1/namespaces/{opted_in.namespace}/augmentationruns"
    cluster.kubectl("label", "namespace", opted_in.namespace, f"{LABEL}-")  # out of the limits
    wait_until_taken(lambda: create_run(opted_in, "older", budget={}))
    cluster.kubectl("label", "namespace", opted_in.namespace, f"{LABEL}=true")
    wait_for_refusal(lambda: create_run(opted_in, "newer", budget={}), "must be set")
    labels = {"metadata": {"labels": {"a": "b"}}}
    cluster.request("PATCH", f"{path}/older", labels, content_type="application/merge-patch+json")
    with pytest.raises(RequestError, match="must be set"):
        opted_in.patch("older", suspend=False)
    cluster.request("DELETE", f"{path}/older", {"propagationPolicy": "Foreground"})
    opted_in.wait_until_gone("older")


def wait_until_taken(create: Any) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            create()
        except RequestError:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        else:
            return


def test_the_policy_knows_every_place_where_a_run_names_a_secret():
    crd = yaml.safe_load((Path(__file__).parents[3] / "crds" / "llm2llm.dev_augmentationruns.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    [policy] = [
        one
        for one in yaml.safe_load_all(render(values=VALUES))
        if one and (one["kind"], one["metadata"]["name"]) == ("ValidatingAdmissionPolicy", f"{RELEASE}-runs")
    ]
    text = json.dumps(policy).replace("?", "")
    places = list(secret_places(schema, "object.spec"))
    assert len(places) == 10
    for place in places:
        assert place in text or place.replace("object.spec.podOverrides", "variables.overrides") in text, place


def secret_places(node: Document, path: str) -> Iterator[str]:
    for name, child in node.get("properties", {}).items():
        here = f"{path}.{name}"
        if name.endswith("SecretRef") or name == "imagePullSecrets":
            yield here
        elif name == "secret" and "secretName" in child.get("properties", {}):
            yield path.removesuffix("[]")
        else:
            yield from secret_places(child.get("items", child), here + ("[]" if "items" in child else ""))
