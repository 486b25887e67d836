"""What `helm install` would do: the chart as rendered, and as a real API server takes it."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.support.install import CHART, RELEASE, SYSTEM, operator_environment, render, rendered

from llm2llm_crdgen.crd import custom_resource_definition


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
    assert operator_environment(chart)["LLM2LLM_KUEUE"] == switch
    groups = [group for rule in chart["ClusterRole", RELEASE]["rules"] for group in rule["apiGroups"]]
    assert ("kueue.x-k8s.io" in groups) == (switch == "true")


@pytest.mark.parametrize(("written", "group"), [(65532, "65532"), (1000900000, "1000900000"), (0, "0"), (None, "")])
def test_the_group_of_the_steps_volumes_reaches_the_operator_as_it_was_written(written: int | None, group: str):
    chart = rendered(values={"steps": {"fsGroup": written}})
    assert operator_environment(chart)["LLM2LLM_FS_GROUP"] == group


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


CRD = ("CustomResourceDefinition", "augmentationruns.llm2llm.dev")
KEEP = "helm.sh/resource-policy"


def test_the_crd_is_the_one_that_the_code_has_to_the_last_brace_and_number():
    chart, code = rendered()[CRD], custom_resource_definition()
    assert json.dumps(chart["spec"], sort_keys=True) == json.dumps(code["spec"], sort_keys=True)
    assert chart["metadata"]["annotations"] == code["metadata"]["annotations"] | {KEEP: "keep"}
    assert code["metadata"]["labels"].items() <= chart["metadata"]["labels"].items()


def test_the_crd_can_be_left_out_or_go_with_the_release():
    assert CRD not in rendered("crds.enabled=false")
    assert KEEP not in rendered("crds.keep=false")[CRD]["metadata"]["annotations"]


def test_the_api_server_takes_the_whole_chart(api: Cluster):
    told = api.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=render())
    assert f"deployment.apps/{RELEASE} serverside-applied" in told
    assert f"poddisruptionbudget.policy/{RELEASE} serverside-applied" in told
