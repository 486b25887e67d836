"""`llm2llm serve`; tests/integration/local/test_serve.py starts it over a run that has trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.support.finished import finished_run

from llm2llm.cli.main import main
from llm2llm.local.record import RECORD


def test_where_there_is_no_run_nothing_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["serve", str(tmp_path), "--port", "0"]) == 64
    assert "found no run" in capsys.readouterr().err


@pytest.mark.parametrize(("server", "kinds"), [("vllm", ["Deployment", "Service"]), ("kserve", ["InferenceService"])])
def test_a_manifest_is_printed_and_nothing_is_loaded(
    tmp_path: Path, server: str, kinds: list[str], capsys: pytest.CaptureFixture[str]
):
    run = finished_run(tmp_path)
    assert run.record
    run.store.write(RECORD, run.record.to_json().encode())
    assert main(["serve", str(tmp_path), "--manifest", server]) == 0
    assert [document["kind"] for document in yaml.safe_load_all(capsys.readouterr().out)] == kinds
