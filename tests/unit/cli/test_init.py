"""`llm2llm init`; what it guesses is in tests/unit/drafts/test_draft.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from llm2llm.cli.main import main

Output = pytest.CaptureFixture[str]
LINES = [f"T-{n:03};please help me with my order number {n};{'ab'[n % 2]}" for n in range(40)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table as Excel writes it in Europe."""
    monkeypatch.chdir(tmp_path)
    Path("My Tickets.csv").write_bytes("\n".join(("id;text;queue", *LINES, "T-x;größer;a")).encode("cp1252"))
    return tmp_path


def test_a_table_becomes_a_manifest_that_is_valid_and_rows_that_a_run_takes(folder: Path, capsys: Output):
    assert main(["init", "My Tickets.csv"]) == 0
    shown = capsys.readouterr().out
    assert "My Tickets.csv: 41 rows, 41 with an answer in 'queue'" in shown
    assert "the student reads: text" in shown
    assert "2 labels: a, b" in shown
    assert (
        "look at this: My Tickets.csv is separated by semicolons instead of commas: the run reads My Tickets.rows.csv "
        "instead" in shown
    )
    document = yaml.safe_load(Path("run.yaml").read_text())
    assert document["metadata"]["name"] == "my-tickets"
    assert document["spec"]["data"]["seed"]["uri"] == (folder / "My Tickets.rows.csv").as_uri()
    assert "größer" in Path("My Tickets.rows.csv").read_text()
    assert main(["validate", "run.yaml"]) == 0


@pytest.mark.parametrize("name", ["y", "on", "08", "1e3", "null"])
def test_a_file_may_be_called_what_yaml_takes_for_something_else(folder: Path, name: str):
    Path("My Tickets.csv").rename(f"{name}.csv")
    assert main(["init", f"{name}.csv"]) == 0
    assert main(["validate", "run.yaml"]) == 0


def test_a_guessed_encoding_is_shown_with_a_word(folder: Path, capsys: Output):
    assert main(["init", "My Tickets.csv"]) == 0
    shown = capsys.readouterr().out
    assert "My Tickets.csv is taken for Windows-1252 instead of UTF-8 (is 'größer' as it should be?)" in shown


def test_names_of_columns_may_have_commas_and_blanks(folder: Path):
    rows = [{"one, two": f"the text of row {n}", " label ": "ab"[n % 2]} for n in range(20)]
    Path("x.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["init", "x.json", "--answer", " label "]) == 0
    fields = yaml.safe_load(Path("run.yaml").read_text())["spec"]["data"]["seed"]["fields"]
    assert fields == {"one_two": "one, two", "completion": " label "}


def test_what_cannot_be_a_run_is_told_before_anything_is_written(folder: Path, capsys: Output):
    assert main(["init", "My Tickets.csv", "--student", "owner/model"]) == 64
    assert "spec.student.model.uri: must be a URI" in capsys.readouterr().err
    assert main(["init", "My Tickets.csv", "--answer", "queue", "--prompt", "queue"]) == 65
    assert "column 'queue' is the answer" in capsys.readouterr().err
    Path("plain.csv").write_text("text,label\n" + "some text of a row,a\nmore text of a row,b\n" * 9)
    assert main(["init", "plain.csv", "-f", "none/run.yaml"]) == 64
    assert capsys.readouterr().err == "none/run.yaml: No such file or directory: name another file with --file\n"
    assert [path.name for path in sorted(folder.iterdir())] == ["My Tickets.csv", "plain.csv"]


def test_nothing_is_overwritten(folder: Path, capsys: Output):
    Path("run.yaml").write_text("mine")
    assert main(["init", "My Tickets.csv"]) == 65
    assert capsys.readouterr().err == "run.yaml exists: name another file with --file, or delete it\n"
    assert [path.name for path in sorted(folder.iterdir())] == ["My Tickets.csv", "run.yaml"]


def test_a_person_is_asked_four_questions_at_most(folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def answer(question: str, default: str) -> str:
        asked.append(question)
        return default

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", answer)
    assert main(["init", "My Tickets.csv"]) == 0
    assert len(asked) == 4
    asked.clear()
    options = ["--answer", "queue", "--prompt", "text", "--student", "hf://a/b", "--base-url", "http://teacher/v1"]
    Path("My Tickets.rows.csv").unlink()
    assert main(["init", "My Tickets.csv", "-f", "other.yaml", *options]) == 0
    assert asked == []
    assert yaml.safe_load(Path("other.yaml").read_text())["spec"]["student"]["model"]["uri"] == "hf://a/b"
