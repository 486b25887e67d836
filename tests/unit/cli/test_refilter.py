"""`llm2llm refilter` as a user types it; what it finds is in tests/unit/stages/test_refilter.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.support.filteredrun import finished_run, spec

from llm2llm.api.run import API_VERSION, KIND
from llm2llm.cli.main import main

Output = pytest.CaptureFixture[str]
STRICTER = ("--set", "generate.filters.dedup.threshold=0.9")


@pytest.fixture
def work(tmp_path: Path) -> str:
    finished_run(tmp_path / "out")
    return str(tmp_path / "out")


def test_the_table_counts_by_iteration_what_would_be_kept(work: str, capsys: Output):
    assert main(["refilter", work, *STRICTER]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1][:4] == ["0", "7", "3", "2"]
    assert lines[1][4:] == ["1", "kept", "->", "nearDuplicate"]


def test_programs_get_the_numbers_and_the_rows(work: str, capsys: Output):
    assert main(["refilter", work, *STRICTER, "-o", "json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first == {
        "iteration": 0, "finished": True, "answers": 7, "kept": 3, "wouldKeep": 2, "unanswered": 1,
        "belowMinAcceptance": False, "changes": [{"was": "kept", "now": "nearDuplicate", "answers": 1}],
    }  # fmt: skip
    assert main(["refilter", work, *STRICTER, "--rows", "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["was"], row["now"]) for row in rows if row["iteration"] == "0"] == [
        ("s0-s1-1", "kept", "nearDuplicate")
    ]


def test_without_a_change_nothing_changes(work: str, capsys: Output):
    assert main(["refilter", work, "--rows"]) == 0
    assert capsys.readouterr().out.startswith("No verdict changes.\n")
    assert main(["refilter", work, "--rows", "-o", "csv"]) == 0
    assert capsys.readouterr().out == "iteration,id,wave,was,now,detail,text,seed\n"


def test_the_filters_of_a_manifest_are_taken(work: str, tmp_path: Path, capsys: Output):
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "keyword"}}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**document, "spec": spec(dedup={"threshold": "0.9"})}))
    assert main(["refilter", work, "-f", str(file), "-o", "json"]) == 0
    assert [each["wouldKeep"] for each in json.loads(capsys.readouterr().out)] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "maxIterations=1"], "only its filters may differ"),
        (["--set", "generate.filters.dedup.threshold=2"], "spec.generate.filters.dedup.threshold: must be"),
        (["-f", "none.yaml"], "none.yaml: no such file or folder"),
    ],
)
def test_what_cannot_be_judged_ends_with_64_and_its_words(work: str, capsys: Output, arguments: list[str], words: str):
    assert main(["refilter", work, *arguments]) == 64
    assert words in capsys.readouterr().err


def test_a_run_whose_teacher_wrote_nothing_says_so(work: str, capsys: Output):
    for folder in (Path(work) / "default" / "keyword" / "iterations").glob("*/generate"):
        folder.rename(folder.with_name("elsewhere"))
    assert main(["refilter", work]) == 64
    assert "the teacher has written nothing in this run yet" in capsys.readouterr().err


def test_the_help_shows_an_example(capsys: Output, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["refilter", "--help"]) == 0
    assert "Example: llm2llm refilter out --set" in capsys.readouterr().out
