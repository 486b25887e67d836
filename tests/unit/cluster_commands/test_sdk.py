"""The client of runs on a cluster, beside a server that says what the test has it say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import builders
from tests.support.apianswers import Server, refusal

from llm2llm.client import RunClient, connect
from llm2llm.errors import ConfigurationError, InvalidManifest
from llm2llm_cluster import sdk

RUNS = "/namespaces/ml/augmentationruns"
SCORE = {"name": "accuracy", "dataset": "evaluation", "value": "0.85", "low": "0.8", "high": "0.9", "examples": 200}


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> RunClient:
    monkeypatch.setattr(sdk, "POLL_SECONDS", 0.01)
    return connect()


def document(name: str = "tickets", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ml", "uid": "u"}, "spec": builders.spec(), "status": status}


def answer(body: Any) -> tuple[int, bytes]:
    return 200, json.dumps(body).encode()


def test_a_run_is_what_its_status_says(server: Server, client: RunClient):
    best = {"iteration": 1, "modelUri": "s3://b/adapter", "digest": "sha256:0"}
    rows = [{"index": 0, "trainExamples": 80, "mistakes": 9, "kept": 18, "metrics": [SCORE]}, {"index": 103}]
    server.answers["GET", f"{RUNS}/tickets"] = answer(
        document(phase="Running", message="m", artifactsUri="s3://b/r", best=best, iterations=rows)
    )
    run = client.get("tickets")
    assert (run.name, run.namespace, run.phase, run.ended) == ("tickets", "ml", "Running", False)
    assert (run.best, run.model_uri, run.digest, run.artifacts) == (1, "s3://b/adapter", "sha256:0", "s3://b/r")
    first, closing = run.iterations
    assert (first.train_rows, first.mistakes, first.kept, first.score) == (80, 9, 18, 0.85)
    assert (closing.name, closing.score) == ("closing (after 3)", None)
    assert run.spec.max_iterations == builders.spec()["maxIterations"]


def test_a_run_is_created_listed_and_deleted(server: Server, client: RunClient):
    server.answers["POST", RUNS] = 201, answer(document())[1]
    assert client.create({"metadata": {"name": "tickets"}, "spec": builders.spec()}).phase == "Pending"
    [sent] = server.sent
    assert (sent["kind"], sent["metadata"]) == ("AugmentationRun", {"name": "tickets"})
    server.answers["GET", RUNS] = answer({"items": [document("b"), document("a")], "metadata": {}})
    assert [run.name for run in client.list()] == ["a", "b"]
    server.answers["DELETE", f"{RUNS}/a"] = answer({})
    client.delete("a")
    with pytest.raises(ConfigurationError, match="there is no AugmentationRun c in namespace ml: there are: a, b"):
        client.delete("c")


def test_what_cannot_be_created_is_told_before_it_is_sent_or_in_the_servers_words(server: Server, client: RunClient):
    with pytest.raises(InvalidManifest):
        client.create({"metadata": {"name": "tickets"}, "spec": {}})
    with pytest.raises(ConfigurationError, match="the manifest names namespace nlp, and this client is for ml"):
        client.create({"metadata": {"name": "tickets", "namespace": "nlp"}, "spec": builders.spec()})
    assert server.sent == []
    server.answers["POST", RUNS] = 409, refusal('augmentationruns "tickets" already exists')
    with pytest.raises(ConfigurationError, match="already exists: delete that one, or choose another name"):
        client.create({"metadata": {"name": "tickets"}, "spec": builders.spec()})


def test_waiting_ends_with_the_run_or_with_the_time(server: Server, client: RunClient):
    server.answers["GET", f"{RUNS}/tickets"] = answer(document(phase="Running", message="training"))
    with pytest.raises(TimeoutError, match="tickets is Running after 0 s: training"):
        client.wait("tickets", timeout=0)
    for phase in ("Succeeded", "Failed", "Suspended"):
        server.answers["GET", f"{RUNS}/tickets"] = answer(document(phase=phase))
        assert client.wait("tickets").phase == phase


def test_the_log_is_that_of_the_newest_pod(server: Server, client: RunClient):
    server.answers["GET", f"{RUNS}/tickets"] = answer(document(artifactsUri="s3://b/r"))
    server.answers["GET", "/namespaces/ml/pods"] = answer({"items": []})
    with pytest.raises(ConfigurationError, match="logs of ended steps are in s3://b/r/logs/"):
        list(client.get_logs("tickets"))
    pod = {"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}}
    server.answers["GET", "/namespaces/ml/pods"] = answer({"items": [pod]})
    server.answers["GET", "/pods/p/log"] = 200, b"one\ntwo\n"
    assert list(client.get_logs("tickets", stage="Train")) == ["one", "two"]
