"""What is read of a run on a cluster; what may not be read is named, and the rest is still there."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.clusterobjects import DENIED, ClusterObjects

from llm2llm.errors import ConfigurationError
from llm2llm_cluster.collect import collect_run


def test_everything_about_the_run_is_read():
    bundle = collect_run(ClusterObjects(), "r")
    assert sorted(bundle.documents) == [
        "events.yaml", "jobs.yaml", "pods.yaml", "run.yaml", "versions.yaml", "workloads.yaml",
    ]  # fmt: skip
    assert [event["involvedObject"]["name"] for event in bundle.documents["events.yaml"]] == ["r", "r-train-1"]
    assert bundle.documents["versions.yaml"] == {
        "kubernetes": ["v1.34.0"],
        "operators": [
            {"namespace": "llm2llm-system", "name": "llm2llm", "version": "0.1.0", "images": ["example/operator:0.1.0"]}
        ],
    }
    assert bundle.texts == {"logs/r-train-1-x.log": "one\ntwo\n"}
    assert bundle.unread == {}


def test_what_the_api_server_keeps_for_itself_is_left_out():
    assert "managedFields" not in str(collect_run(ClusterObjects(), "r").documents)


@pytest.mark.parametrize(
    ("denied", "what", "missing"),
    [
        ("jobs", "Jobs", ["jobs.yaml", "workloads.yaml"]),
        ("pods", "Pods", ["pods.yaml"]),
        ("workloads", "Workloads", ["workloads.yaml"]),
        ("events", "Events", ["events.yaml"]),
        ("log", "log of r-train-1-x", []),
        ("deployments", "version of the operator", []),
        ("version", "version of Kubernetes", []),
    ],
)
def test_what_may_not_be_read_is_named_and_the_rest_is_there(denied: str, what: str, missing: list[str]):
    whole, bundle = collect_run(ClusterObjects(), "r"), collect_run(ClusterObjects(denied), "r")
    assert bundle.unread == {what: DENIED.message}
    assert sorted(bundle.documents.keys() | missing) == sorted(whole.documents)


def test_a_run_that_may_not_be_read_is_an_error():
    with pytest.raises(ConfigurationError, match="403"):
        collect_run(ClusterObjects("augmentationruns"), "r")


def test_a_cluster_without_kueue_lacks_nothing():
    bundle = collect_run(ClusterObjects(kueue=False), "r")
    assert "workloads.yaml" not in bundle.documents
    assert bundle.unread == {}


def test_the_log_of_a_container_that_has_not_begun_is_not_asked_for():
    class Waiting(ClusterObjects):
        def pods(self, selector: str) -> list[dict[str, Any]]:
            [pod] = super().pods(selector)
            return [{**pod, "status": {"containerStatuses": [{"name": "step", "state": {"waiting": {}}}]}}]

    bundle = collect_run(Waiting("log"), "r")
    assert bundle.texts == bundle.unread == {}
