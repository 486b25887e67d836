"""What a real MLflow server has of a run after its steps."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.cluster.mlflow import mlflow_server
from tests.cluster.processes import free_port
from tests.support import builders
from tests.support.tls import TlsFront
from tests.support.trackedrun import TrackedRun

from llm2llm.report import mlflow_api

Document = dict[str, Any]
KEY = "mlflow-key-0123456789"


class Server:
    """The server, as somebody else's client sees it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **query: str) -> Document:
        return self._send(f"{path}?{urllib.parse.urlencode(query)}", None)

    def post(self, path: str, **body: Any) -> Document:
        return self._send(path, json.dumps(body).encode())

    def runs(self, experiment: str) -> list[Document]:
        """All runs of an experiment, the parent first: its tags, parameters and metrics by name."""
        found = self.get("experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
        runs = self.post("runs/search", experiment_ids=[found], order_by=["attributes.start_time ASC"])["runs"]
        return [
            {"id": run["info"]["run_id"], "name": run["info"]["run_name"], "status": run["info"]["status"]}
            | {part: {one["key"]: one["value"] for one in run["data"].get(part, [])} for part in ("tags", "params", "metrics")}
            for run in runs
        ]  # fmt: skip

    def history(self, run: str, metric: str) -> list[tuple[int, float]]:
        points = self.get("metrics/get-history", run_id=run, metric_key=metric)["metrics"]
        return sorted((point["step"], point["value"]) for point in points)

    def versions(self, model: str) -> list[Document]:
        found = self.get("model-versions/search", filter=f"name = '{model}'").get("model_versions", [])
        return sorted(found, key=lambda version: int(version["version"]))

    def _send(self, path: str, body: bytes | None) -> Document:
        request = urllib.request.Request(f"{self.address}/api/2.0/mlflow/{path}", body)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield Server(address)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no outage."""
    monkeypatch.setattr(mlflow_api, "CALL_SECONDS", 120.0)
    monkeypatch.setattr(mlflow_api, "TOTAL_SECONDS", 600.0)


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    return TrackedRun(tmp_path / "run")


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return f"of {request.node.name}"


def tracking(server: Server, experiment: str, **more: Any) -> Document:
    return {"mlflow": {"uri": server.address, "experiment": experiment, **more}}


def test_a_run_is_a_parent_with_its_iterations_and_a_retry_adds_nothing(
    server: Server, run: TrackedRun, experiment: str
) -> None:
    where = tracking(server, experiment)
    run.iterate(0, 0.5)
    run.step_again(0, tracking=where)
    assert [each["status"] for each in server.runs(experiment)] == ["RUNNING", "FINISHED"]
    run.iterate(1, 0.7)
    run.step_again(1, tracking=where)
    parent, first, second = before = server.runs(experiment)
    run.step_again(1, tracking=where)
    assert server.runs(experiment) == before

    assert run.events == []
    assert [each["name"] for each in before] == ["ns/r", "ns/r 0", "ns/r 1"]
    assert {each["status"] for each in before} == {"FINISHED"}
    assert {each["tags"]["llm2llm.run_uid"] for each in before} == {builders.UID}
    assert {child["tags"]["mlflow.parentRunId"] for child in (first, second)} == {parent["id"]}
    assert (first["metrics"]["score"], second["metrics"]["score"]) == (0.5, 0.7)
    assert (first["metrics"]["kept_rows"], "kept_rows" in second["metrics"]) == (28, False)
    assert server.history(parent["id"], "score") == [(0, 0.5), (1, 0.7)]
    assert (parent["params"]["teacher"], parent["params"]["strategy"]) == ("t", "Targeted")
    assert parent["tags"]["llm2llm.best_model_uri"] == "s3://b/adapter1"
    assert parent["tags"]["llm2llm.ended"].startswith("MaxIterationsReached")


def test_a_run_that_goes_on_after_its_end_is_running_again(server: Server, run: TrackedRun, experiment: str) -> None:
    run.iterate(0, 0.5)
    run.step_again(0, tracking=tracking(server, experiment), maxIterations=1)
    assert server.runs(experiment)[0]["status"] == "FINISHED"
    run.step_again(0, tracking=tracking(server, experiment), maxIterations=2)
    assert server.runs(experiment)[0]["status"] == "RUNNING"
    assert len(server.runs(experiment)) == 2


def test_what_an_outage_kept_back_is_written_by_the_next_step(server: Server, run: TrackedRun, experiment: str) -> None:
    run.iterate(0, 0.5)
    away = {"mlflow": {"uri": f"http://127.0.0.1:{free_port()}", "experiment": experiment}}
    tracked = run.step_again(0, tracking=away)
    assert tracked == run.step_again(0)
    [event] = run.events
    assert event["message"].startswith(
        f"MLflow at {away['mlflow']['uri']} was not brought up to date: it cannot be reached"
    )
    assert "spec.tracking.mlflow.uri" in event["message"]
    run.iterate(1, 0.7)
    run.step_again(1, tracking=tracking(server, experiment))
    parent, *children = server.runs(experiment)
    assert [child["metrics"]["score"] for child in children] == [0.5, 0.7]
    assert server.history(parent["id"], "score") == [(0, 0.5), (1, 0.7)]
    assert len(run.events) == 1


def test_the_best_adapter_is_a_version_and_the_alias_moves_to_a_better_one(
    server: Server, run: TrackedRun, experiment: str
) -> None:
    where = tracking(server, experiment, registeredModel=experiment)
    addresses = []
    for index, score in enumerate([0.5, 0.7, 0.6]):
        run.iterate(index, score)
        for _ in range(2):
            run.step_again(index, tracking=where, maxIterations=3)
        best = server.get("registered-models/alias", name=experiment, alias="best")["model_version"]
        addresses.append(best["source"])
    assert addresses == ["s3://b/adapter0", "s3://b/adapter1", "s3://b/adapter1"]
    versions = server.versions(experiment)
    assert [version["source"] for version in versions] == ["s3://b/adapter0", "s3://b/adapter1"]
    tags = {tag["key"]: tag["value"] for tag in versions[1]["tags"]}
    assert (tags["llm2llm.iteration"], tags["llm2llm.run_uid"]) == ("1", builders.UID)
    assert tags["llm2llm.digest"] == json.loads(run.store.read("iterations/001/train/manifest.json"))["digest"]
    assert versions[1]["run_id"] == server.runs(experiment)[2]["id"]
    assert run.events == []


def test_a_folder_of_this_machine_is_not_registered_and_everything_else_is_there(
    server: Server, run: TrackedRun, experiment: str
) -> None:
    run.adapters = "file:///out/adapter"
    run.iterate(0, 0.5)
    run.step_again(0, tracking=tracking(server, experiment, registeredModel=experiment), maxIterations=1)
    [event] = run.events
    assert event["message"] == (
        f"the adapter is not registered in MLflow as {experiment}, because MLflow takes none from a folder of this machine "
        "(file:///out/adapter0): use artifacts in a bucket, or leave registeredModel out"
    )
    assert [each["status"] for each in server.runs(experiment)] == ["FINISHED", "FINISHED"]


def test_a_certificate_of_ones_own_is_trusted_by_its_bundle_and_by_nothing_else(
    server: Server, run: TrackedRun, experiment: str, tmp_path: Path
) -> None:
    run.iterate(0, 0.5)
    with TlsFront(tmp_path, urlsplit(server.address).port or 0) as front:
        where = {"uri": f"https://127.0.0.1:{front.port}", "experiment": experiment}
        run.step_again(0, tracking={"mlflow": where})
        assert "CERTIFICATE_VERIFY_FAILED" in run.events.pop()["message"]
        trusting = {"mlflow": where | {"caBundleRef": {"name": "private-ca"}}}
        run.step_again(0, {"LLM2LLM_MLFLOW_CA_BUNDLE": str(tmp_path / "none.crt")}, tracking=trusting)
        assert "ConfigMap private-ca, key ca.crt (caBundleRef) does not exist" in run.events.pop()["message"]
        run.step_again(0, {"LLM2LLM_MLFLOW_CA_BUNDLE": str(front.authority)}, tracking=trusting)
    assert run.events == []
    assert len(server.runs(experiment)) == 2


def test_no_key_is_in_the_store_or_on_the_server(
    server: Server, run: TrackedRun, experiment: str, tmp_path: Path
) -> None:
    run.iterate(0, 0.5)
    where = tracking(server, experiment, credentialsSecretRef={"name": "mlflow"})
    run.step_again(0, {"LLM2LLM_MLFLOW_TOKEN": KEY}, tracking=where)
    assert run.events == []
    assert KEY not in json.dumps(server.runs(experiment))
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if KEY.encode() in path.read_bytes()]
