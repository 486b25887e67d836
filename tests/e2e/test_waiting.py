"""A run says why it waits, in the cluster's own words, and how long it may (faults 22, 24, 28; deadlines)."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.faultrules import Match
from tests.cluster.fixtures import RunningCluster
from tests.support.install import OperatorProcess
from tests.support.platform import Platform


def progress(status: dict[str, Any]) -> tuple[str, str]:
    condition = next(c for c in status["conditions"] if c["type"] == "Progressing")
    return condition["status"], condition["reason"]


def test_fault_22_an_image_that_cannot_be_pulled_is_told_at_once_and_fails_at_the_start_up_deadline(
    cluster: RunningCluster, platform: Platform, operator: OperatorProcess, team: str
):
    with cluster.faults.image_pull_backoff(Match(namespace=team)):
        platform.apply(team, platform.manifest(prepare={"startupDeadlineSeconds": 5}))
        status = platform.wait(team, "keyword", lambda s: "ImagePullBackOff" in str(s.get("conditions")), timeout=180)
        assert progress(status) == ("False", "ImagePullBackOff")
        status = platform.wait_for_end(team, timeout=180)
    assert next(c["reason"] for c in status["conditions"] if c["type"] == "Failed") == "StartupDeadlineExceeded"
    assert "startupDeadlineSeconds" in status["message"] or "no container started" in status["message"]


def test_fault_24_a_pod_that_a_quota_refuses_is_told_from_the_event(
    platform: Platform, operator: OperatorProcess, team: str
):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": team},
        "spec": {"hard": {"pods": "0"}},
    }
    platform.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(quota))
    platform.cluster.kubectl(
        "-n", team, "wait", "--for=jsonpath={.status.hard.pods}=0", "resourcequota/none", "--timeout=180s"
    )
    platform.apply(team, platform.manifest(maxIterations=1))
    status = platform.wait(team, "keyword", lambda s: "exceeded quota" in str(s.get("message")), timeout=180)
    assert progress(status) == ("False", "QuotaExceeded")
    assert status["phase"] == "Pending"
    platform.cluster.kubectl("-n", team, "delete", "arun", "keyword")


def test_a_deadline_ends_the_run_at_once_and_counts_only_active_time(
    platform: Platform, operator: OperatorProcess, team: str
):
    platform.apply(team, platform.manifest(train={**platform.manifest()["spec"]["train"], "activeDeadlineSeconds": 3}))
    status = platform.wait_for_end(team)
    assert next(c["reason"] for c in status["conditions"] if c["type"] == "Failed") == "DeadlineExceeded"
    assert status["currentStep"]["stage"] == "Train"
    assert "spec.retry" in status["message"]
    platform.cluster.kubectl(
        "-n", team, "wait", "--for=delete", "job", "-l", "llm2llm.dev/stage=train", "--timeout=180s"
    )


def test_a_run_on_a_claim_and_a_configmap_needs_no_object_store_of_its_own(
    cluster: RunningCluster, platform: Platform, operator: OperatorProcess, team: str
):
    rows = platform.client().get_object(Bucket="llm2llm-demo", Key="keyword/seed.jsonl")["Body"].read().decode()
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rows", "namespace": team},
        "data": {"seed.jsonl": rows},
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "results", "namespace": team},
        "spec": {
            "storageClassName": "local",
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    for body in (config_map, claim):
        platform.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    document = platform.manifest(maxIterations=1)
    document["spec"]["data"]["seed"]["uri"] = "configmap://rows/seed.jsonl"
    document["spec"]["artifacts"]["uri"] = "pvc://results/runs"
    platform.apply(team, document)
    status = platform.wait_for_end(team)
    assert status["phase"] == "Succeeded", status
    assert status["best"]["modelUri"].startswith("pvc://results/runs/")
    found = list(cluster.node.folder.glob("claims/**/adapter_model.safetensors"))
    assert any(team in str(path) for path in found), found
