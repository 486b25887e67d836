"""`llm2llm step`: the step is the one that the environment describes."""

from __future__ import annotations

import pytest

from llm2llm.cli.main import main


@pytest.mark.parametrize("document", [None, "", "{", '{"stage": "Prepare"}'])
def test_without_a_step_document_it_ends_with_64_and_names_the_variable(
    document: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("LLM2LLM_STEP", raising=False)
    if document is not None:
        monkeypatch.setenv("LLM2LLM_STEP", document)
    assert main(["step"]) == 64
    assert "LLM2LLM_STEP is not a valid step document: " in capsys.readouterr().err
