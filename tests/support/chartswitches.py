"""The switches of the chart, and combinations of them that have every pair of their settings."""

from __future__ import annotations

import json
from typing import Any

from tests.support.allpairs import all_pairs
from tests.support.install import SYSTEM

SWITCHES = {
    "crds.enabled": ("true", "false"),
    "crds.keep": ("true", "false"),
    "deployment.enabled": ("true", "false"),
    "deployment.replicas": ("2", "1"),
    "deployment.logFormat": ('"json"', '"text"'),
    "deployment.resources": ('{"limits": {"cpu": 2}}', "null"),
    "deployment.priorityClassName": ('""', '"system-cluster-critical"'),
    "deployment.nodeSelector": ("{}", '{"pool": "system"}'),
    "deployment.tolerations": ("[]", '[{"key": "a", "operator": "Exists"}]'),
    "deployment.podLabels": ("{}", '{"team": "ml"}'),
    "deployment.podAnnotations": ("{}", '{"team": "ml"}'),
    "deployment.extraEnv": ("[]", '[{"name": "TZ", "value": "UTC"}]'),
    "watchNamespaces": ("[]", '["a"]', f'["a", "{SYSTEM}"]'),
    "deleteFinishedRuns": ("false", "true"),
    "kueue.readWorkloads": ("false", "true"),
    "image.registry": ('"ghcr.io/llm2llm"', '""'),
    "images.train": ("{}", '"r.io/trainer:1"'),
    "imagePullPolicy": ('""', '"Always"', '"IfNotPresent"', '"Never"'),
    "imagePullSecrets": ("[]", '[{"name": "mirror"}]'),
    "steps.fsGroup": ("65532", "null"),
    "steps.resources": ("{}", "null"),
    "nameOverride": ('""', '"short"'),
    "fullnameOverride": ('""', '"other"'),
    "commonLabels": ("{}", '{"team": "ml"}'),
    "podDisruptionBudget.enabled": ("true", "false"),
    "podDisruptionBudget.unhealthyPodEvictionPolicy": ('"AlwaysAllow"', '"IfHealthyBudget"'),
    "rbac.create": ("true", "false"),
    "rbac.aggregate": ("true", "false"),
    "metrics.tls.secretName": ('""', '"metrics"'),
    "metrics.dashboard.enabled": ("false", "true"),
    "networkPolicy.enabled": ("false", "true"),
    "networkPolicy.scrapers": ("[]", '[{"namespaceSelector": {}}]'),
    "admission.operator.enabled": ("false", "true"),
    "admission.runs.enabled": ("false", "true"),
    "admission.runs.imagePrefixes": ("[]", '["r.io/"]'),
    "admission.runs.maxCost": ("null", "12.5"),
    "serviceAccount.create": ("true", "false"),
    "serviceAccount.annotations": ("{}", '{"role": "ml"}'),
}
"""Settings of each value, as JSON."""


def rows() -> list[dict[str, str]]:
    """About twenty combinations that have every pair of settings."""
    return all_pairs(SWITCHES)


def values_of(row: dict[str, str]) -> dict[str, Any]:
    """The file of values for a combination."""
    values: dict[str, Any] = {}
    for path, setting in row.items():
        *blocks, name = path.split(".")
        block = values
        for each in blocks:
            block = block.setdefault(each, {})
        block[name] = json.loads(setting)
    values["serviceAccount"]["name"] = "operator"
    return values
