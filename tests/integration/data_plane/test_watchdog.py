from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.data_plane import keyword

from llm2llm.records import Report, Stage


def test_fault_51_a_step_that_hangs_ends_itself_with_75_and_says_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "seed.jsonl").write_bytes(keyword.jsonl(keyword.rows(1, 1)))
    (tmp_path / "evaluation.jsonl").write_bytes(keyword.jsonl(keyword.rows(1, 5)))
    model = tmp_path / "model"
    keyword.write_tokenizer(model)
    keyword.config().save_pretrained(str(model))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        document = keyword.spec(
            seed_uri=(tmp_path / "seed.jsonl").as_uri(),
            evaluation_uri=(tmp_path / "evaluation.jsonl").as_uri(),
            model_uri=model.as_uri(),
            artifacts_uri=(tmp_path / "runs").as_uri(),
            maxIterations=2,
            prepare={"progressDeadlineSeconds": 10},
            generate__teacher__baseUrl=f"http://127.0.0.1:{silent.getsockname()[1]}/v1",
        )
        step = keyword.Run(document).step(Stage.PREPARE)
        environment = {
            "LLM2LLM_STEP": step.to_environment(),
            "LLM2LLM_TERMINATION_PATH": str(tmp_path / "report.json"),
            "LLM2LLM_SCRATCH": str(tmp_path / "scratch"),
        }
        command = [sys.executable, "-m", "llm2llm.cli", "step"]
        began = time.monotonic()
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=90, check=False
        )

    report = Report.model_validate(json.loads((tmp_path / "report.json").read_text()))
    assert done.returncode == report.exit_code == 75
    assert report.reason == "NoProgress"
    assert "progressDeadlineSeconds" in report.message
    assert 10 < time.monotonic() - began < 60
    assert "_probe_teacher" in done.stderr
    (log,) = (path.read_text() for path in (tmp_path / "runs").rglob("*.log"))
    assert "nothing moved" in log
    assert "_probe_teacher" in log
