"""`llm2llm report`; what its table shows is tested in tests/unit/results/test_report.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm.cli.main import main


def test_a_folder_without_runs_ends_with_64_and_says_how_one_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["report", str(tmp_path)]) == 64
    assert capsys.readouterr() == (
        "",
        f"{tmp_path}: no runs found; create one with `llm2llm run --workdir {tmp_path}`\n",
    )
