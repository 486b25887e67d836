"""`llm2llm fetch` and `llm2llm export`; what they bring is in tests/unit/results/test_fetch.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.finished import finished_run

from llm2llm.cli.main import main
from llm2llm.local.record import RECORD


@pytest.mark.parametrize("command", ["fetch", "export"])
def test_where_there_is_no_run_nothing_is_written(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]):
    assert main([command, str(tmp_path), str(tmp_path / "out")]) == 64
    assert "found no run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_predictions_are_exported_to_a_file_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = finished_run(tmp_path / "run")
    assert run.record
    run.store.write(RECORD, run.record.to_json().encode())
    command = ["export", str(tmp_path / "run"), str(tmp_path / "answers.jsonl")]
    assert main([*command, "--set", "test"]) == 64
    assert "--set chooses answers: add --predictions" in capsys.readouterr().err
    assert main([*command, "--predictions", "--set", "test"]) == 0
    [row] = map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())
    assert (row["set"], row["prompt"], row["label"], row["answer"]) == ("test", "r0", "y", "y")
