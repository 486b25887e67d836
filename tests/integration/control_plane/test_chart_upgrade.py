"""The CRD through the life of a release: from a chart that kept it in crds/, over an uninstall, to the next install.

A real helm on a real API server. No pod starts, because there is no node; nobody waits for one.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.processes import wait_until
from tests.support.former import unpack
from tests.support.install import CHART, CHECKOUT, RELEASE, SYSTEM, helm
from tests.support.runs import MERGE_PATCH, Runs

from llm2llm_crdgen.crd import ANNOTATION_DIGEST, custom_resource_definition

LAST_WITH_CRDS_FOLDER = "77af437"
"""The last commit whose chart had its CRD in crds/, which helm installs and never upgrades."""
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/augmentationruns.llm2llm.dev"
DIGEST = custom_resource_definition()["metadata"]["annotations"][ANNOTATION_DIGEST]


@pytest.fixture
def own() -> Iterator[Cluster]:
    """A control plane without the chart."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def former_chart(tmp_path: Path) -> Path:
    """The chart with its CRD in crds/."""
    name = CHART.relative_to(CHECKOUT).as_posix()
    return unpack(LAST_WITH_CRDS_FOLDER, tmp_path, name) / name


def crd(cluster: Cluster) -> dict[str, Any]:
    return dict(cluster.request("GET", CRD))


def digest(cluster: Cluster) -> str | None:
    found: str | None = crd(cluster)["metadata"].get("annotations", {}).get(ANNOTATION_DIGEST)
    return found


def spec_fields(cluster: Cluster) -> set[str]:
    """The fields of a run's spec that the API server has."""
    schema = crd(cluster)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return set(schema["properties"]["spec"]["properties"])


def make_older(cluster: Cluster, field: str) -> None:
    """Takes a field out of the CRD, as one of an earlier release would lack it."""
    body = crd(cluster)
    del body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][field]
    cluster.request("PATCH", CRD, {"spec": body["spec"]}, content_type=MERGE_PATCH)


@pytest.mark.turns("releases")
def test_a_release_whose_crd_was_in_the_crds_folder_is_upgraded_and_keeps_its_runs(own: Cluster, former_chart: Path):
    chosen = ("--set", "images.train=r.io/mine:1", "--set", "watchNamespaces={team}", "--set", "deployment.replicas=3")
    own.create_namespace("team")
    helm(own, "install", RELEASE, str(former_chart), "--create-namespace", *chosen)
    runs = Runs(own, "team")
    before = runs.create("r")["metadata"]["uid"]
    make_older(own, "retry")
    deployment = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/{RELEASE}"
    installed = own.request("GET", deployment)
    upgrade = ("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values")
    with pytest.raises(RuntimeError, match="use --reset-then-reuse-values instead of --reuse-values"):
        helm(own, "upgrade", RELEASE, str(CHART), "--take-ownership", "--reuse-values")
    with pytest.raises(RuntimeError, match="invalid ownership metadata"):
        helm(own, *upgrade)
    helm(own, *upgrade, "--take-ownership")
    assert digest(own) == DIGEST
    assert "retry" in spec_fields(own)
    upgraded = own.request("GET", deployment)
    assert upgraded["metadata"]["uid"] == installed["metadata"]["uid"]
    assert upgraded["spec"]["replicas"] == 3
    [container] = upgraded["spec"]["template"]["spec"]["containers"]
    assert {"name": "LLM2LLM_IMAGE_TRAIN", "value": "r.io/mine:1"} in container["env"]
    assert runs.get("r")["metadata"]["uid"] == before
    helm(own, "rollback", RELEASE, "1")
    assert runs.get("r")["metadata"]["uid"] == before


@pytest.mark.turns("releases")
def test_the_crd_and_its_runs_outlive_the_release_and_belong_to_the_next_one(own: Cluster):
    helm(own, "install", RELEASE, str(CHART), "--create-namespace")
    own.create_namespace("team")
    runs = Runs(own, "team")
    wait_until("AugmentationRuns", lambda: "arun" in own.kubectl("api-resources", "--api-group=llm2llm.dev"), [])
    before = runs.create("r")["metadata"]["uid"]
    helm(own, "upgrade", RELEASE, str(CHART), "--set", "crds.enabled=false")
    assert runs.get("r")["metadata"]["uid"] == before
    helm(own, "upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", "--set", "crds.enabled=true")
    told = helm(own, "uninstall", RELEASE)
    assert "[CustomResourceDefinition] augmentationruns.llm2llm.dev" in told
    assert runs.get("r")["metadata"]["uid"] == before
    make_older(own, "retry")
    helm(own, "install", RELEASE, str(CHART))
    assert "retry" in spec_fields(own)
    assert runs.get("r")["metadata"]["uid"] == before


def test_a_crd_that_the_chart_shall_not_keep_goes_with_the_release(own: Cluster):
    helm(own, "install", RELEASE, str(CHART), "--create-namespace", "--set", "crds.keep=false")
    told = helm(own, "uninstall", RELEASE)
    assert "CustomResourceDefinition" not in told
    wait_until("the end of the CRD", lambda: "augmentationruns" not in own.kubectl("get", "crd", "-o", "name"), [])


def test_what_helm_says_after_an_installation_is_true(own: Cluster):
    told = helm(own, "install", RELEASE, str(CHART), "--create-namespace").partition("NOTES:\n")[2]
    assert f"operator 0.1.0 (chart 0.1.0) is installed as release {RELEASE} in namespace {SYSTEM}" in told
    # the OpenAPI document, which `explain` reads, has a new kind a moment after discovery has it; a rollout takes longer
    wait_until("AugmentationRuns", lambda: "arun" in own.kubectl("api-resources", "--api-group=llm2llm.dev"), [])
    wait_until("their fields", lambda: own.kubectl("explain", "augmentationruns.spec", check=False) != "", [])
    commands = re.findall(r"^  kubectl (.+)$", told, re.MULTILINE)
    rollout, *others = [shlex.split(command) for command in commands]
    assert rollout[2:] == ["rollout", "status", f"deployment/{RELEASE}"]
    own.kubectl("--namespace", SYSTEM, "get", rollout[-1])
    printed = [own.kubectl(*command) for command in others]
    assert printed[0].strip() == DIGEST
    assert DIGEST in told
    assert "maxIterations" in printed[2]


def test_who_installs_the_crd_alone_has_the_same_one(own: Cluster):
    helm(own, "install", RELEASE, str(CHART), "--create-namespace")
    ours = crd(own)["spec"]
    applied = own.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "json", "-f", str(CHECKOUT / "crds"))  # fmt: skip
    assert json.loads(applied)["spec"] == ours
