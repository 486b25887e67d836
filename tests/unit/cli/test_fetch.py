"""`llm2llm fetch` and `llm2llm export`; what they bring is in tests/unit/local/test_fetch.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm.cli.main import main


@pytest.mark.parametrize("command", ["fetch", "export"])
def test_where_there_is_no_run_nothing_is_written(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]):
    assert main([command, str(tmp_path), str(tmp_path / "out")]) == 64
    assert "found no run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
