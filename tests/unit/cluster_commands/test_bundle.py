"""`llm2llm bundle` as a user types it, beside a cluster that the test has; its parts are in test_collect.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.archives import unpacked
from tests.support.clusterobjects import KEYS, LOG, ClusterObjects
from tests.support.filteredrun import finished_run

from llm2llm.cli.main import main
from llm2llm_cluster import bundle

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def use(monkeypatch: pytest.MonkeyPatch, cluster: ClusterObjects) -> None:
    monkeypatch.setattr(bundle, "open_cluster", lambda *_: cluster)


def test_no_planted_key_is_in_the_archive_of_a_run_on_a_cluster(monkeypatch: pytest.MonkeyPatch, capsys: Output):
    use(monkeypatch, ClusterObjects(log=LOG))
    assert main(["bundle", "r"]) == 0
    told = capsys.readouterr().out
    files = unpacked(Path("r-bundle.tar.gz"))
    text = "\n".join([told, *files.values()])
    assert {place for place, key in KEYS.items() if key in text} == set()
    assert files["logs/r-train-1-x.log"] == "the gateway refuses ***\nAuthorization: Bearer ***\nGET https://h/\n"
    assert "apiKeySecretRef:" in files["run.yaml"]
    assert "redacted: " in told
    assert "wrote r-bundle.tar.gz: read it before you pass it on" in told


def test_what_may_not_be_read_is_told_here_and_in_the_archive(monkeypatch: pytest.MonkeyPatch, capsys: Output):
    use(monkeypatch, ClusterObjects("pods"))
    assert main(["bundle", "r", "--file", "b.tar.gz"]) == 0
    line = "not readable: Pods: the API server answered 403: it is forbidden\n"
    assert line in capsys.readouterr().out
    assert line in unpacked(Path("b.tar.gz"))["CONTENTS.txt"]


def test_programs_are_told_what_it_holds(monkeypatch: pytest.MonkeyPatch, capsys: Output):
    use(monkeypatch, ClusterObjects("pods"))
    assert main(["bundle", "r", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["archive"], told["notReadable"]) == (
        "r-bundle.tar.gz",
        {"Pods": "the API server answered 403: it is forbidden"},
    )
    assert told["files"] == {path: len(text.encode()) for path, text in unpacked(Path("r-bundle.tar.gz")).items()}
    assert told["redacted"]["values in objects"] > 0
    assert main(["bundle", "r", "-o", "csv", "--force"]) == 0
    assert capsys.readouterr().out.startswith("file,bytes\nCONTENTS.txt,")


def test_a_run_that_may_not_be_read_leaves_no_archive(monkeypatch: pytest.MonkeyPatch, capsys: Output):
    use(monkeypatch, ClusterObjects("augmentationruns"))
    assert main(["bundle", "r"]) == 64
    assert "the API server answered 403" in capsys.readouterr().err
    assert not Path("r-bundle.tar.gz").exists()


def test_an_archive_is_never_overwritten_without_force(monkeypatch: pytest.MonkeyPatch, capsys: Output):
    use(monkeypatch, ClusterObjects())
    Path("r-bundle.tar.gz").write_bytes(b"mine")
    assert main(["bundle", "r"]) == 64
    assert capsys.readouterr().err == "r-bundle.tar.gz exists: use --force, or name another file with --file\n"
    assert Path("r-bundle.tar.gz").read_bytes() == b"mine"
    assert main(["bundle", "r", "--force"]) == 0


def test_a_work_folder_is_bundled_without_a_cluster(tmp_path: Path):
    finished_run(tmp_path / "out")
    assert main(["bundle", "out"]) == 0
    assert "run.json" in unpacked(Path("keyword-bundle.tar.gz"))


def test_what_is_neither_a_folder_nor_on_a_cluster_is_told_as_both(monkeypatch: pytest.MonkeyPatch, capsys: Output):
    monkeypatch.setenv("KUBECONFIG", "none")
    assert main(["bundle", "outt"]) == 64
    assert capsys.readouterr().err.startswith("there is no folder outt, and no cluster to ask: ")


def test_the_help_shows_an_example(capsys: Output, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["bundle", "--help"]) == 0
    assert "Example: llm2llm bundle tickets -n ml" in capsys.readouterr().out
