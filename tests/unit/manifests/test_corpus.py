"""`llm2llm validate` takes and refuses what the API server does; its side is tests/integration/control_plane/test_corpus.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import corpus

from llm2llm.cli.main import main


@pytest.mark.parametrize("file", corpus.valid(), ids=lambda file: file.stem)
def test_a_valid_manifest_is_taken(file: Path, capsys: pytest.CaptureFixture[str]):
    code = main(["validate", str(file)])
    assert (code, capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("case", corpus.invalid(), ids=lambda case: case.file.stem)
def test_an_invalid_manifest_is_refused_and_says_where(case: corpus.Invalid, capsys: pytest.CaptureFixture[str]):
    assert main(["validate", str(case.file)]) == (64 if case.local else 0)
    assert case.local in capsys.readouterr().err


def test_the_corpus_is_not_lost():
    assert len(corpus.valid()) >= 12
    assert len(corpus.invalid()) >= 30
