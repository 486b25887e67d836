"""Each value of the chart reaches the place that it is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from tests.support.install import CHART, RELEASE, SYSTEM, operator_container, operator_environment, rendered

from llm2llm.api.pods import Resources
from llm2llm_operator.build.poddefaults import PodDefaults
from llm2llm_operator.settings import Settings

Documents = dict[tuple[str, str], dict[str, Any]]
DIGEST = "sha256:" + "5" * 64
DEFAULT_IMAGES = {name: f"ghcr.io/llm2llm/{image}:0.1.0" for name, image in
                  [("operator", "operator"), ("prepare", "generator"), ("train", "trainer"), ("evaluate", "evaluator"), ("generate", "generator")]}  # fmt: skip


def images(chart: Documents) -> dict[str, str]:
    """The images of the operator and of the stages, by their names in the values."""
    stages = {name.removeprefix("LLM2LLM_IMAGE_").lower(): value for name, value in operator_environment(chart).items()}
    return {name: stages[name] for name in DEFAULT_IMAGES if name in stages} | {"operator": operator_container(chart)["image"]}  # fmt: skip


def settings(chart: Documents) -> Settings:
    """What the operator reads of its environment."""
    return Settings.from_environment(operator_environment(chart) | {"LLM2LLM_NAMESPACE": SYSTEM})


def pod(chart: Documents) -> dict[str, Any]:
    """The template of the operator's pods."""
    template: dict[str, Any] = chart["Deployment", RELEASE]["spec"]["template"]
    return template


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        pytest.param({}, {}, id="of the release, where nothing is set"),
        pytest.param(
            {"image": {"registry": "mirror.local:5000/ml"}},
            {name: image.replace("ghcr.io/llm2llm", "mirror.local:5000/ml") for name, image in DEFAULT_IMAGES.items()},
            id="all from one registry",
        ),
        pytest.param(
            {"image": {"tag": "main"}, "images": {"train": {"tag": "mine"}}},
            {name: image.replace("0.1.0", "mine" if name == "train" else "main") for name, image in DEFAULT_IMAGES.items()},
            id="one tag for all, and another one for one of them",
        ),
        pytest.param(
            {"images": {"train": {"digest": DIGEST}}, "image": {"tag": ""}},
            {"train": f"ghcr.io/llm2llm/trainer@{DIGEST}"},
            id="by digest",
        ),
        pytest.param(
            {"images": {"train": {"digest": DIGEST, "tag": "1.2"}}, "image": {"tag": "main"}},
            {name: image.replace("0.1.0", "main") for name, image in DEFAULT_IMAGES.items()}
            | {"train": f"ghcr.io/llm2llm/trainer:1.2@{DIGEST}"},
            id="by digest, with a tag for people",
        ),
        pytest.param(
            {"image": {"registry": ""}, "images": {name: {"repository": "r.io/a/b"} for name in DEFAULT_IMAGES}},
            dict.fromkeys(DEFAULT_IMAGES, "r.io/a/b:0.1.0"),
            id="repositories alone",
        ),
        pytest.param(
            {"images": {"train": "r.io:5000/mine/trainer:7", "operator": f"o@{DIGEST}"}},
            {"train": "r.io:5000/mine/trainer:7", "operator": f"o@{DIGEST}"},
            id="a plain string is the whole image, as it was before there was a registry",
        ),
    ],
)  # fmt: skip
def test_images_are(values: dict[str, Any], changed: dict[str, str]):
    assert images(rendered(values=values)) == DEFAULT_IMAGES | changed


def test_the_catalog_of_charts_is_told_of_the_images_of_this_release():
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]["artifacthub.io/images"]
    assert {entry["image"] for entry in yaml.safe_load(told)} == set(DEFAULT_IMAGES.values())


REQUESTS = {name: Resources(requests=amounts) for name, amounts in (
    ("prepare", {"cpu": "250m", "memory": "1Gi"}), ("train", {"cpu": "1", "memory": "4Gi"}),
    ("evaluate", {"cpu": "1", "memory": "4Gi"}), ("generate", {"cpu": "250m", "memory": "1Gi"}),
)}  # fmt: skip


def test_the_operators_own_defaults_are_the_charts_but_for_logs_images_and_requests():
    chart = settings(rendered())
    assert replace(chart, images={}) == Settings(
        namespace=SYSTEM,
        lease=RELEASE,
        log_format="json",
        pod_defaults=PodDefaults(fs_group=65532, resources=REQUESTS),
    )


def test_each_setting_of_the_operator_has_a_value():
    chart = rendered(
        values={
            "operator": {"workers": 2_000_000, "writeRate": 0.5, "writeBurst": 7, "resyncSeconds": 60, "backoffSeconds": 1},
            "deployment": {"logFormat": "text"},
            "kueue": {"readWorkloads": True},
            "watchNamespaces": ["a", "b"],
        }
    )  # fmt: skip
    told = settings(chart)
    assert (told.workers, told.write_rate, told.write_burst) == (2_000_000, 0.5, 7)
    assert (told.resync_seconds, told.backoff_seconds, told.log_format) == (60, 1, "text")
    assert (told.kueue, told.namespaces) == (True, ("a", "b"))


def test_secrets_and_policy_of_pulling_reach_the_operators_pods_and_those_of_the_steps():
    chart = rendered(values={"imagePullSecrets": [{"name": "mirror"}, {"name": "hub"}], "imagePullPolicy": "Always"})
    assert pod(chart)["spec"]["imagePullSecrets"] == [{"name": "mirror"}, {"name": "hub"}]
    assert operator_container(chart)["imagePullPolicy"] == "Always"
    steps = settings(chart).pod_defaults
    assert (steps.pull_secrets, steps.pull_policy) == (("mirror", "hub"), "Always")
    assert "imagePullPolicy" not in operator_container(rendered())


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        pytest.param(
            {"train": {"requests": {"cpu": 2}, "limits": {"memory": 34359738368}}},
            REQUESTS
            | {"train": Resources(requests={"cpu": "2", "memory": "4Gi"}, limits={"memory": "34359738368"})},
            id="in part, and as numbers",
        ),
        pytest.param({"train": {"requests": {"memory": None}}}, REQUESTS | {"train": Resources(requests={"cpu": "1"})}, id="without one amount"),
        pytest.param({"train": None}, {name: REQUESTS[name] for name in REQUESTS if name != "train"}, id="not for one step"),
        pytest.param({"train": {"requests": None}}, {name: REQUESTS[name] for name in REQUESTS if name != "train"}, id="without requests"),
        pytest.param(None, {}, id="for none"),
    ],
)  # fmt: skip
def test_resources_of_steps_are_set(resources: dict[str, Any] | None, told: dict[str, Resources]):
    assert settings(rendered(values={"steps": {"resources": resources}})).pod_defaults.resources == told


def test_the_operators_pods_take_what_a_cluster_asks_of_pods():
    variable = {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}}
    deployment = {
        "extraEnv": [{"name": "TZ", "value": "UTC"}, variable],
        "podLabels": {"team": "ml", "app.kubernetes.io/name": "forged"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "priorityClassName": "system-cluster-critical",
        "resources": {"requests": {"cpu": 1}},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}},
    }  # fmt: skip
    chart = rendered(values={"deployment": deployment})
    template, container = pod(chart), operator_container(chart)
    assert container["env"][-2:] == deployment["extraEnv"]
    assert template["metadata"]["labels"]["team"] == "ml"
    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == "llm2llm-operator"
    assert template["metadata"]["annotations"] == deployment["podAnnotations"]
    for field in ("priorityClassName", "nodeSelector", "tolerations", "affinity"):
        assert template["spec"][field] == deployment[field]
    assert container["resources"] == {"requests": {"cpu": 1, "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def test_what_nobody_sets_is_left_out_of_the_operators_pods():
    template = pod(rendered())
    assert "annotations" not in template["metadata"]
    unset = {"priorityClassName", "nodeSelector", "tolerations", "affinity", "imagePullSecrets"}
    assert not unset & template["spec"].keys()


def test_a_slow_start_is_no_reason_for_a_restart():
    container = operator_container(rendered())
    probe = container["startupProbe"]
    assert probe["httpGet"] == container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert probe["periodSeconds"] * probe["failureThreshold"] == 120


def test_labels_for_all_are_on_all_objects_and_in_no_selector():
    chart = rendered(values={"commonLabels": {"team": "ml", "app.kubernetes.io/instance": "forged"}})
    assert {document["metadata"]["labels"]["team"] for document in chart.values()} == {"ml"}
    assert {document["metadata"]["labels"]["app.kubernetes.io/instance"] for document in chart.values()} == {RELEASE}
    assert pod(chart)["metadata"]["labels"]["team"] == "ml"
    assert "team" not in chart["Deployment", RELEASE]["spec"]["selector"]["matchLabels"]


def test_another_name_of_the_objects_is_everywhere():
    chart = rendered("fullnameOverride=other", "nameOverride=short", "watchNamespaces={a}")
    names = {name for kind, name in chart if kind != "CustomResourceDefinition"}
    assert names == {"other", "other-lease", "other-edit", "other-view", "other-metrics"}
    for (kind, _), document in chart.items():
        if kind.endswith("Binding"):
            assert document["roleRef"]["name"] in names
            assert [subject["name"] for subject in document["subjects"]] == ["other"]
    assert operator_environment(chart, "other")["LLM2LLM_LEASE"] == "other"
    assert chart["Role", "other-lease"]["rules"][1]["resourceNames"] == ["other"]
    selector = {"app.kubernetes.io/name": "short", "app.kubernetes.io/instance": RELEASE}
    deployment = chart["Deployment", "other"]["spec"]
    [spread] = deployment["template"]["spec"]["topologySpreadConstraints"]
    for part in (deployment["selector"], spread["labelSelector"], chart["PodDisruptionBudget", "other"]["spec"]["selector"]):  # fmt: skip
        assert part == {"matchLabels": selector}
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()


def accounts(chart: Documents) -> set[str]:
    """The ServiceAccounts that the operator runs with and that are granted something."""
    granted = {subject["name"] for (kind, _), document in chart.items() if kind.endswith("Binding") for subject in document["subjects"]}  # fmt: skip
    return granted | {pod(chart)["spec"]["serviceAccountName"]}


def test_a_service_account_can_have_another_name_or_be_somebody_elses():
    named = rendered("serviceAccount.name=mine", "serviceAccount.annotations.role=ml")
    assert accounts(named) == {"mine"}
    assert named["ServiceAccount", "mine"]["metadata"]["annotations"] == {"role": "ml"}
    others = rendered("serviceAccount.name=theirs", "serviceAccount.create=false")
    assert accounts(others) == {"theirs"}
    assert not [name for kind, name in others if kind == "ServiceAccount"]


def test_a_service_account_of_somebody_else_has_to_be_named():
    with pytest.raises(RuntimeError, match=r"serviceAccount\.name must be set if serviceAccount\.create is false"):
        rendered("serviceAccount.create=false")


@pytest.mark.parametrize("namespaces", [[], ["a", "b"]], ids=["of all namespaces", "of some namespaces"])
def test_roles_can_be_somebody_elses(namespaces: list[str]):
    kinds = {kind for kind, _ in rendered(values={"rbac": {"create": False}, "watchNamespaces": namespaces})}
    assert kinds == {"CustomResourceDefinition", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}


def test_the_roles_for_people_can_stay_out_of_the_clusters_own():
    for switch, aggregated in (("true", True), ("false", False)):
        chart = rendered(f"rbac.aggregate={switch}")
        for role, targets in (("edit", {"admin", "edit"}), ("view", {"view"})):
            labels = chart["ClusterRole", f"{RELEASE}-{role}"]["metadata"]["labels"]
            found = {name.rpartition("aggregate-to-")[2] for name in labels if "aggregate-to" in name}
            assert found == (targets if aggregated else set())


def test_a_drain_may_stop_a_replica_that_is_not_ready():
    budget = rendered()["PodDisruptionBudget", RELEASE]["spec"]
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    policy = "podDisruptionBudget.unhealthyPodEvictionPolicy=IfHealthyBudget"
    assert rendered(policy)["PodDisruptionBudget", RELEASE]["spec"]["unhealthyPodEvictionPolicy"] == "IfHealthyBudget"
    assert ("PodDisruptionBudget", RELEASE) not in rendered("podDisruptionBudget.enabled=false")
