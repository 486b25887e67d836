"""A run on a cluster is named where any run may be: to show its rows, to fetch its student, to compare it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import builders
from tests.support.apianswers import Server

from llm2llm.errors import ConfigurationError, InvalidManifest
from llm2llm.results.targets import named_runs
from llm2llm_cluster.runs import find_run


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has names be no files here."""
    monkeypatch.chdir(tmp_path)


def run(tmp_path: Path, **status: str) -> tuple[int, bytes]:
    metadata = {"name": "tickets", "namespace": "ml", "uid": "u"}
    return 200, json.dumps({"metadata": metadata, "spec": builders.spec(), "status": status}).encode()


@pytest.mark.parametrize(
    ("target", "path"),
    [("tickets", "/namespaces/ml/augmentationruns/tickets"), ("nlp/a.b", "/namespaces/nlp/augmentationruns/a.b")],
)
def test_a_run_is_named_with_its_namespace_or_without(server: Server, tmp_path: Path, target: str, path: str):
    server.answers["GET", path] = run(tmp_path, artifactsUri=tmp_path.as_uri(), phase="Succeeded")
    assert find_run(target)["metadata"]["name"] == "tickets"
    [named] = named_runs(target, "", {})
    assert (named.title, named.store.uri) == ("tickets", tmp_path.as_uri())
    assert named.view().run_uid == "u"


def test_a_folder_comes_before_a_run_on_a_cluster(server: Server, tmp_path: Path):
    (tmp_path / "tickets").mkdir()
    [named] = named_runs("tickets", "", {})
    assert named.title == "tickets"
    assert not named.document


@pytest.mark.parametrize("target", ["out/", "./tickets", "a/b/c", "Tickets", "run.yaml", "tickets.json"])
def test_what_looks_like_a_path_is_not_looked_for_on_a_cluster(server: Server, target: str):
    server.answers["GET", "/augmentationruns/tickets"] = 500, b""
    with pytest.raises(InvalidManifest, match="no such file or folder"):
        list(named_runs(target, "", {}))


def test_what_is_neither_here_nor_there_is_told_so(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.answers["GET", "/namespaces/ml/augmentationruns"] = 200, b'{"items": [{"metadata": {"name": "ticket"}}]}'
    with pytest.raises(
        ConfigurationError, match=r"tickets is no file and no folder here, and as the name of a run: .*ticket"
    ):
        list(named_runs("tickets", "", {}))
    monkeypatch.setenv("KUBECONFIG", "none")
    with pytest.raises(ConfigurationError, match="as the name of a run: no cluster to ask: no kubeconfig at none"):
        list(named_runs("tickets", "", {}))


def test_a_run_without_artifacts_has_nothing_to_show(server: Server, tmp_path: Path):
    server.answers["GET", "/augmentationruns/tickets"] = run(tmp_path)
    with pytest.raises(ConfigurationError, match=r"tickets: the run has no status\.artifactsUri"):
        list(named_runs("tickets", "", {}))
