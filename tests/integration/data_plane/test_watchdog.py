from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.cluster.s3 import S3Server
from tests.support import keyword
from tests.support.steps import document_of

from llm2llm.records import Report, Stage
from llm2llm.storage import Store


def test_fault_51_a_step_that_hangs_ends_itself_with_75_and_says_where_it_was(
    tmp_path: Path, s3: S3Server, bucket: Store
) -> None:
    (tmp_path / "seed.jsonl").write_bytes(keyword.jsonl(keyword.rows(1, 1)))
    (tmp_path / "evaluation.jsonl").write_bytes(keyword.jsonl(keyword.rows(1, 5)))
    model = tmp_path / "model"
    keyword.write_tokenizer(model)
    keyword.config().save_pretrained(str(model))
    (model / "model.safetensors").write_bytes(b"none")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        document = keyword.spec(
            seed_uri=(tmp_path / "seed.jsonl").as_uri(),
            evaluation_uri=(tmp_path / "evaluation.jsonl").as_uri(),
            model_uri=model.as_uri(),
            artifacts_uri=f"{bucket.uri}/runs",
            artifacts__endpoint=s3.endpoint,
            maxIterations=2,
            prepare={"progressDeadlineSeconds": 10},
            generate__teacher__baseUrl=f"http://127.0.0.1:{silent.getsockname()[1]}/v1",
        )
        step = keyword.Run(document).step(Stage.PREPARE)
        environment = {
            "LLM2LLM_STEP": document_of(step).to_environment(),
            "LLM2LLM_TERMINATION_PATH": str(tmp_path / "report.json"),
            "LLM2LLM_SCRATCH": str(tmp_path / "scratch"),
        }
        command = [sys.executable, "-m", "llm2llm.cli", "step"]
        done = subprocess.run(
            command, env=os.environ | environment | s3.keys, capture_output=True, text=True, timeout=90, check=False
        )

    report = Report.model_validate(json.loads((tmp_path / "report.json").read_text()))
    assert done.returncode == report.exit_code == 75
    assert report.reason == "NoProgress"
    silence = re.search(r"no progress for (\d+) s", report.message)
    assert silence
    assert int(silence[1]) >= 10
    assert "progressDeadlineSeconds" in report.message
    assert "_probe_teacher" in done.stderr
    (log,) = (bucket.read(key).decode() for key in bucket.list("runs/") if key.endswith(".log"))
    assert "no progress for" in log
    assert "_probe_teacher" in log
