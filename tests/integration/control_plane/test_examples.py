"""The folders of examples with the chart's values: helm renders them, and a real API server takes all that is in them.

Kueue's own objects are handed to Kueue in test_kueue.py, and gitops is in test_outside.py.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.controlplane import Cluster, RequestError
from tests.support.corpus import EXAMPLES
from tests.support.finished import finished_run
from tests.support.install import operator_container, operator_environment, parse_manifests, render, rendered

from llm2llm.manifests.problems import validate_spec
from llm2llm.results.student import LocatedStudent, locate
from llm2llm.serving.servingmanifests import serving_manifest

FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/values.yaml"))
DRY_RUN = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--field-manager=examples", "-f", "-")


def values_of(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "values.yaml").read_text()))


@pytest.fixture(scope="module")
def teams(api: Cluster) -> Cluster:
    """The cluster with the namespaces of the examples."""
    for team in ("team-a", "team-b"):
        with contextlib.suppress(RequestError):  # another module has made it
            api.create_namespace(team)
    return api


def test_each_folder_is_there():
    assert [folder.name for folder in FOLDERS] == ["air-gapped", "kueue", "multi-tenant"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_chart_takes_the_values_and_the_api_server_what_comes_of_them(teams: Cluster, folder: Path):
    text = render("crds.enabled=false", values=values_of(folder))
    told = teams.kubectl(*DRY_RUN, stdin=text)
    assert told.count("serverside-applied (server dry run)") == len(parse_manifests(text))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_run_is_valid_here_and_for_the_api_server(teams: Cluster, folder: Path):
    text = (folder / "run.yaml").read_text()
    validate_spec(yaml.safe_load(text))
    assert "serverside-applied (server dry run)" in teams.kubectl(*DRY_RUN, stdin=text)


def test_the_api_server_takes_what_a_team_gets(teams: Cluster):
    text = (EXAMPLES / "multi-tenant" / "team.yaml").read_text()
    told = teams.kubectl(*DRY_RUN, stdin=text)
    assert told.count("serverside-applied (server dry run)") == len(parse_manifests(text))


def test_the_rights_of_a_team_are_a_role_that_its_values_make(teams: Cluster):
    chart = rendered(values=values_of(EXAMPLES / "multi-tenant"))
    documents = parse_manifests((EXAMPLES / "multi-tenant" / "team.yaml").read_text())
    [binding] = [each for each in documents if each["kind"] == "RoleBinding"]
    role = chart["ClusterRole", binding["roleRef"]["name"]]
    assert "rbac.authorization.k8s.io/aggregate-to-edit" not in role["metadata"]["labels"]
    label = values_of(EXAMPLES / "multi-tenant")["admission"]["operator"]["namespaceLabel"]
    [namespace] = [each for each in documents if each["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"][label] == "true"


@pytest.mark.parametrize("address", ["s3://artifacts/runs/team-a/r", "pvc://runs/x/team-a/r", ""])
def test_the_api_server_takes_what_serves_a_student(teams: Cluster, tmp_path: Path, address: str):
    told = teams.kubectl(*DRY_RUN, stdin=serving_manifest(served_student(tmp_path, address), "vllm"))
    assert told.count("serverside-applied (server dry run)") == 2


def served_student(folder: Path, address: str) -> LocatedStudent:
    """The student of a run in team-a that asks for all that a pod can be asked for; without an address, on a laptop."""
    spec: dict[str, Any] = {
        "student": {"model": {"uri": "hf://org/base"}, "tokenSecretRef": {"name": "hub", "key": "token"}},
        "evaluate": {
            "resources": {"requests": {"cpu": "2"}, "limits": {"nvidia.com/gpu": "2"}},
            "tensorParallelSize": 2,
            "nodeSelector": {"gpu": "yes"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "podOverrides": {"serviceAccountName": "runs", "imagePullSecrets": [{"name": "pull"}]},
    }
    spec["artifacts"] = {"uri": "s3://artifacts/runs", "credentialsSecretRef": {"name": "s3"}, "region": "eu-1"}
    run = finished_run(folder, uri=address, **(spec if address else {}))
    assert run.record
    view = replace(run, record=run.record.model_copy(update={"namespace": "team-a"}))
    return locate(view, None)


def test_every_image_without_the_internet_comes_from_the_mirror_by_its_digest():
    chart = rendered(values=values_of(EXAMPLES / "air-gapped"))
    environment = operator_environment(chart)
    images = [environment[f"LLM2LLM_IMAGE_{stage}"] for stage in ("PREPARE", "TRAIN", "EVALUATE", "GENERATE")]
    for image in (*images, operator_container(chart)["image"]):
        assert image.startswith("registry.example.com/llm2llm/")
        assert "@sha256:" in image
