"""The tables of the runs in a work folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import builders
from tests.support.steps import commit_step, step_of

from llm2llm.errors import Transient
from llm2llm.local.record import RECORD, RunRecord
from llm2llm.records import Stage, Usage
from llm2llm.results.report import print_reports
from llm2llm.storage import LocalStore

USAGE = Usage(teacher_requests=30, teacher_input_tokens=1000, teacher_output_tokens=234)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def new_run_in(workdir: Path, name: str, **changes: Any) -> LocalStore:
    """A run without any iteration."""
    store = LocalStore(workdir / "default" / name)
    record = RunRecord(name=name, namespace="default", uid="u", spec=builders.spec(**changes))
    store.write(RECORD, record.to_json().encode())
    return store


def run_in(workdir: Path, **changes: Any) -> LocalStore:
    """A run with one whole iteration and a training."""
    store = new_run_in(workdir, "keyword", **changes)
    commit_step(store, step_of(Stage.TRAIN), train_examples=1040)
    f1 = builders.accuracy(0.6).model_copy(update={"name": "macroF1"})
    commit_step(store, step_of(Stage.EVALUATE), metrics=(builders.accuracy(0.7), f1))
    commit_step(store, step_of(Stage.GENERATE), {"rejected.jsonl": b"", "synthetic.jsonl": b""}, usage=USAGE)
    commit_step(store, step_of(Stage.TRAIN, 1))
    return store


def rows(shown: str) -> list[list[str]]:
    """The cells of the table's rows."""
    lines = [line for line in shown.splitlines() if line.startswith("\u2502")]
    return [[cell.strip() for cell in line.strip("\u2502").split("\u2502")] for line in lines]


def test_a_run_is_a_table_with_a_row_for_each_iteration_so_far(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run_in(tmp_path)
    assert print_reports(str(tmp_path), "", {}) == 0
    shown = capsys.readouterr().out
    assert "default/keyword" in shown
    assert rows(shown) == [
        ["0", "1,040", "0.700", "0.650-0.750", "10", "30", "28", "1,234"],
        ["1", "41", "", "", "", "", "", ""],
    ]


def test_the_score_is_the_one_that_the_run_is_judged_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    task = {"promptTemplate": "x", "grader": {"type": "Choice"}, "labels": ["a", "b"]}
    run_in(tmp_path, task=task, objective={"metric": "macroF1"})
    assert print_reports(str(tmp_path), "", {}) == 0
    shown = capsys.readouterr().out
    assert "macroF1" in shown
    assert "accuracy" not in shown
    assert rows(shown)[0][2] == "0.600"


def test_every_run_of_the_folder_is_shown_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in "dbeacf":
        new_run_in(tmp_path, name)
    assert print_reports(str(tmp_path), "", {}) == 0
    shown = capsys.readouterr().out
    assert [name for line in shown.splitlines() for name in line.split() if "default/" in name] == [
        f"default/{name}" for name in "abcdef"
    ]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        pytest.param(RECORD, "run.json cannot be read: name: Field required", id="of the run"),
        pytest.param("iterations/000/train/manifest.json", "train/manifest.json cannot be read", id="of a step"),
    ],
)
def test_a_damaged_document_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, words: str):
    run_in(tmp_path).write(key, b"{}")
    assert print_reports(str(tmp_path), "", {}) == 70
    error = capsys.readouterr().err
    assert error.startswith(f"{tmp_path / 'default' / 'keyword'}: ")
    assert words in error


def test_the_page_is_written_anew_and_its_verdict_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = run_in(tmp_path)
    assert print_reports(str(tmp_path), "", {}) == 0
    shown = capsys.readouterr().out
    assert "accuracy is 0.700 on 100 evaluation rows" in shown.lower()
    assert f"report: {store.uri}/report/index.html" in shown
    assert b"<h1>Accuracy is 0.700" in store.read("report/index.html")


@pytest.mark.parametrize("open_page", [False, True])
def test_a_store_that_takes_no_page_is_told_and_the_page_is_opened_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], open_page: bool
):
    run_in(tmp_path)
    opened: list[str] = []

    def refuse(*_: object) -> None:
        raise Transient("it is read-only")

    def note(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(LocalStore, "write", refuse)
    monkeypatch.setattr("webbrowser.open", note)
    assert print_reports(str(tmp_path), "", {}, open_page=open_page) == 75
    shown = capsys.readouterr()
    assert "the page could not be written: it is read-only" in shown.err
    assert "report: " not in shown.out
    assert len(opened) == open_page
    for address in opened:
        assert b"<h1>Accuracy" in Path(address.removeprefix("file://")).read_bytes()


def test_a_run_without_an_iteration_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    new_run_in(tmp_path, "new")
    assert print_reports(str(tmp_path), "", {}, open_page=True) == 0
    assert "No iteration has been trained yet" in capsys.readouterr().out


def test_the_page_is_opened_in_a_browser_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = run_in(tmp_path)
    opened: list[str] = []

    def note(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", note)
    assert print_reports(str(tmp_path), "", {}, open_page=True) == 0
    assert opened == [f"{store.uri}/report/index.html"]
