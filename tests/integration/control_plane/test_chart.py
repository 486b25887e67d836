"""What `helm install` would do: the chart as rendered, and as a real API server takes it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.support.install import CHART, RELEASE, SYSTEM, render


def rendered(*settings: str) -> dict[tuple[str, str], dict[str, Any]]:
    documents = [document for document in yaml.safe_load_all(render(*settings)) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def test_helm_finds_nothing_to_say_about_the_chart():
    done = subprocess.run(
        [str(binaries.helm()), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_replicas_are_the_default_on_two_nodes_where_there_are_two():
    chart = rendered()
    spec = chart["Deployment", RELEASE]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (2, {"type": "RollingUpdate"})
    [spread] = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    for selector in (
        spread["labelSelector"],
        chart["PodDisruptionBudget", RELEASE]["spec"]["selector"],
        spec["selector"],
    ):
        assert selector["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert chart["PodDisruptionBudget", RELEASE]["spec"]["maxUnavailable"] == 1


def test_a_single_replica_has_no_disruption_budget_because_it_would_not_help():
    assert ("PodDisruptionBudget", RELEASE) not in rendered("deployment.replicas=1")


def test_no_replica_at_all_is_refused():
    with pytest.raises(RuntimeError, match="replicas"):
        render("deployment.replicas=0")


@pytest.mark.parametrize(
    "namespaces", ["{a,a}", "{Team}", "{a b}", "{''}"], ids=["twice", "upper case", "a space", "empty"]
)
def test_namespaces_that_could_not_all_be_served_are_refused(namespaces: str):
    with pytest.raises(RuntimeError, match="watchNamespaces"):
        render(f"watchNamespaces={namespaces}")


@pytest.mark.parametrize("switch", ["true", "false"])
def test_the_operator_asks_kueue_only_where_the_chart_gives_it_the_right(switch: str):
    chart = rendered(f"kueue.readWorkloads={switch}")
    [container] = chart["Deployment", RELEASE]["spec"]["template"]["spec"]["containers"]
    assert {"name": "LLM2LLM_KUEUE", "value": switch} in container["env"]
    groups = [group for rule in chart["ClusterRole", RELEASE]["rules"] for group in rule["apiGroups"]]
    assert ("kueue.x-k8s.io" in groups) == (switch == "true")


@pytest.mark.parametrize(
    ("written", "group"), [("65532", "65532"), ("1000900000", "1000900000"), ("0", "0"), ("null", "")]
)
def test_the_group_of_the_steps_volumes_reaches_the_operator_as_it_was_written(
    tmp_path: Path, written: str, group: str
):
    values = tmp_path / "values.yaml"
    values.write_text(f"steps: {{fsGroup: {written}}}\n")
    command = [str(binaries.helm()), "template", RELEASE, str(CHART), "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [deployment] = [each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "LLM2LLM_FS_GROUP", "value": group} in container["env"]


def test_the_lease_is_the_only_thing_that_the_operator_may_change_in_its_namespace():
    chart = rendered()
    role = chart["Role", f"{RELEASE}-lease"]
    assert role["metadata"]["namespace"] == SYSTEM
    assert role["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [RELEASE],
            "verbs": ["get", "update"],
        },
    ]
    [container] = chart["Deployment", RELEASE]["spec"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["LLM2LLM_LEASE"]["value"] == RELEASE
    assert environment["LLM2LLM_LOG_FORMAT"]["value"] == "json"
    assert environment["LLM2LLM_NAMESPACE"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


def test_the_api_server_takes_the_whole_chart(api: Cluster):
    told = api.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=render())
    assert f"deployment.apps/{RELEASE} serverside-applied" in told
    assert f"poddisruptionbudget.policy/{RELEASE} serverside-applied" in told
