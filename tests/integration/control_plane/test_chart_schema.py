"""A wrong value is refused before anything is installed, with a message that names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.install import render


def nested(path: str, value: Any) -> dict[str, Any]:
    """The values with this one at its path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


WRONG: list[tuple[str, Any, str]] = [
    ("deployment.replicas", -1, "/deployment/replicas'"),
    ("deployment.replicas", "two", "/deployment/replicas'"),
    ("deployment.replicas", 2.5, "/deployment/replicas'"),
    ("deployment.replcas", 3, "/deployment': additional properties 'replcas'"),
    ("deployment.logFormat", "yaml", "/deployment/logFormat'"),
    ("deployment.resources", {"limits": {"memory": "lots"}}, "/deployment/resources/limits/memory'"),
    ("deployment.resources", {"limts": {"memory": "1Gi"}}, "/deployment/resources': additional properties 'limts'"),
    ("deployment.resources", {"requests": {"cpu": -1}}, "/deployment/resources/requests/cpu'"),
    ("deployment.tolerations", ["gpu"], "/deployment/tolerations/0'"),
    ("deployment.tolerations", [{"key": "a", "operator": "Equals"}], "/deployment/tolerations/0/operator'"),
    ("deployment.tolerations", {"key": "a"}, "/deployment/tolerations'"),
    ("deployment.affinity", {"podAntiafinity": {}}, "/deployment/affinity': additional properties 'podAntiafinity'"),
    (
        "deployment.affinity",
        {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]}},
        "missing property 'topologyKey'",
    ),
    ("deployment.nodeSelector", {"disk": 1}, "/deployment/nodeSelector/disk'"),
    ("deployment.nodeSelector.gpu", True, "/deployment/nodeSelector/gpu'"),
    ("deployment.podLabels", {"a": "b c"}, "/deployment/podLabels/a'"),
    ("deployment.podLabels", {"a b": "c"}, "/deployment/podLabels': additional properties 'a b'"),
    ("deployment.podAnnotations", {"a": 1}, "/deployment/podAnnotations/a'"),
    ("deployment.priorityClassName", "High", "/deployment/priorityClassName'"),
    ("deployment.extraEnv", {"A": "b"}, "/deployment/extraEnv'"),
    ("deployment.extraEnv", [{"name": "A", "value": 1}], "/deployment/extraEnv/0/value'"),
    ("deployment.extraEnv", [{"name": "LLM2LLM_WORKERS", "value": "1"}], "/deployment/extraEnv/0/name'"),
    ("deployment.extraEnv", [{"name": "A", "valueFrom": {}}], "/deployment/extraEnv/0/valueFrom'"),
    ("deployment.extraArgs", ["--verbose"], "/deployment': additional properties 'extraArgs'"),
    ("commonLabels", {"a": True}, "/commonLabels/a'"),
    ("nameOverride", "Mine", "/nameOverride'"),
    ("fullnameOverride", "a.b", "/fullnameOverride'"),
    ("imagePullPolicy", "ifnotpresent", "/imagePullPolicy'"),
    ("imagePullSecrets", ["regcred"], "/imagePullSecrets/0'"),
    ("imagePullSecrets", [{"nme": "regcred"}], "/imagePullSecrets/0'"),
    ("watchNamespaces", ["Team_A"], "/watchNamespaces/0'"),
    ("watchNamespaces", ["a", "a"], "/watchNamespaces'"),
    ("watchNamespaces", "team-a", "/watchNamespaces'"),
    ("image.registry", "https://ghcr.io", "/image/registry'"),
    ("image.registry", "ghcr.io/", "/image/registry'"),
    ("image.tag", "a b", "/image/tag'"),
    ("images.operator", "", "/images/operator'"),
    ("images.train", "", "/images/train'"),
    ("images.train", "no such image", "/images/train'"),
    ("images.train.digest", "sha256:12", "/images/train/digest'"),
    ("images.train.repository", "", "/images/train/repository'"),
    ("images.test.repository", "x", "/images': additional properties 'test'"),
    ("steps.fsGroup", -1, "/steps/fsGroup'"),
    ("steps.resources.test", {}, "/steps/resources': additional properties 'test'"),
    ("steps.resources.train", {"limits": {"memory": "16 GB"}}, "/steps/resources/train/limits/memory'"),
    ("steps.resources.train", {"limits": {"nvidia.com/gpu": 1}}, "/steps/resources/train/limits/nvidia.com~1gpu'"),
    ("operator.workers", 0, "/operator/workers'"),
    ("operator.writeRate", "fast", "/operator/writeRate'"),
    ("operator.writeBurst", 0.5, "/operator/writeBurst'"),
    ("operator.resyncSeconds", 0, "/operator/resyncSeconds'"),
    ("operator.backoffSeconds", -1, "/operator/backoffSeconds'"),
    ("operator.leaderElection", False, "/operator': additional properties 'leaderElection'"),
    ("podDisruptionBudget.unhealthyPodEvictionPolicy", "Always", "/podDisruptionBudget/unhealthyPodEvictionPolicy'"),
    ("kueue.readWorkloads", "yes", "/kueue/readWorkloads'"),
    ("rbac.create", "false", "/rbac/create'"),
    ("serviceAccount.annotations", {"a": 1}, "/serviceAccount/annotations/a'"),
    ("serviceAccount.name", "Mine", "/serviceAccount/name'"),
    ("metrics.serviceMonitor.enabled", "yes", "enabled"),
    ("metrics.serviceMonitor.interval", "soon", "interval"),
    ("metrics.tls.secretName", "no such Secret", "secretName"),
    ("metrics.podMonitor", {}, "podMonitor"),
    ("metrics.dashboard.labels", {"a": 1}, "labels"),
    ("admission.operator.namespaceLabel", "no label", "/admission/operator/namespaceLabel'"),
    ("admission.runs.maxGPUsPerStep", -1, "/admission/runs/maxGPUsPerStep'"),
    ("admission.runs.maxCost", "much", "/admission/runs/maxCost'"),
    ("admission.runs.secretNames", [""], "/admission/runs/secretNames/0'"),
    ("networkPolicy.scrapers", [{"podSelektor": {}}], "podSelektor"),
    ("networkPolicy.scrapers", [{"ipBlock": {"except": []}}], "cidr"),
    ("crds.install", False, "/crds': additional properties 'install'"),
    ("crds.enabled", "no", "/crds/enabled'"),
    ("deleteFinishedRuns", "yes", "/deleteFinishedRuns'"),
]


@pytest.mark.parametrize(
    ("path", "value", "named"), WRONG, ids=[f"{path}={json.dumps(value)}" for path, value, _ in WRONG]
)
def test_a_wrong_value_is_refused_by_its_name(path: str, value: Any, named: str):
    with pytest.raises(RuntimeError) as refusal:
        render(values=nested(path, value))
    assert named in str(refusal.value)


def test_a_chart_that_has_this_one_as_a_part_may_pass_anything_in_global():
    assert render(values={"global": {"imageRegistry": "r.io", "nested": {"a": [1]}}}) == render()


def test_quantities_are_written_as_kubernetes_takes_them():
    amounts = {"cpu": "1500m", "memory": "1.5Gi", "ephemeral-storage": 1_000_000_000, "example.com/foo": "1"}
    assert render(values={"deployment": {"resources": {"requests": amounts}}})
