"""`llm2llm verify`; what it reads is tested in tests/unit/results/test_verify.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm.cli.main import main


@pytest.mark.parametrize(
    ("target", "words"),
    [("{folder}", "found no committed step"), ("{folder}/none.yaml", "no such file"), ("gs://b/r", "expected s3://")],
)
def test_what_cannot_be_verified_ends_with_64_and_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, words: str
):
    assert main(["verify", target.format(folder=tmp_path)]) == 64
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""
