"""Whichever two switches of the chart meet, a real API server takes all that it renders.

What two switches break together shows in one of about twenty combinations; their full product would be thousands.
"""

from __future__ import annotations

import contextlib
import json
from itertools import combinations
from typing import Any

from tests.cluster.controlplane import Cluster, RequestError
from tests.support.allpairs import all_pairs, pairs_of
from tests.support.install import SYSTEM, parse_manifests, render

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


def test_every_pair_of_settings_is_in_one_of_a_few_combinations():
    rows = all_pairs(SWITCHES)
    wanted = {
        frozenset(((first, a), (second, b)))
        for first, second in combinations(SWITCHES, 2)
        for a in SWITCHES[first]
        for b in SWITCHES[second]
    }
    assert set().union(*map(pairs_of, rows)) == wanted
    assert len(rows) <= 24


def test_the_api_server_takes_what_every_pair_of_switches_renders(api: Cluster):
    with contextlib.suppress(RequestError):
        api.create_namespace("a")
    taken: set[str] = set()
    for row in all_pairs(SWITCHES):
        documents = parse_manifests(render(values=values_of(row)))
        assert any(document["kind"] == "Deployment" for document in documents) == (row["deployment.enabled"] == "true")
        fresh = {json.dumps(document) for document in documents} - taken  # an API server takes 2 s for a CRD
        taken |= fresh
        if not fresh:
            continue
        options = ("--server-side", "--force-conflicts", "--dry-run=server", "--field-manager=pairs")
        told = api.kubectl("apply", *options, "-f", "-", stdin="\n---\n".join(sorted(fresh)))
        assert told.count("serverside-applied (server dry run)") == len(fresh), row
