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
from tests.support.commands import run_command
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
    (model / "model.safetensors").write_bytes(keyword.NO_WEIGHTS)
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
        # forked: on a busy machine the imports alone can take as long as the step may be silent
        done = run_command(["step"], env=os.environ | environment | s3.keys, timeout=90)

    report = Report.model_validate(json.loads((tmp_path / "report.json").read_text()))
    assert done.returncode == report.exit_code == 75
    assert report.reason == "NoProgress"
    silence = re.search(r"no progress for (\d+) s", report.message)
    assert silence
    assert int(silence[1]) >= 10
    assert "progressDeadlineSeconds" in report.message
    assert "probe_teacher" in done.stderr
    (log,) = (bucket.read(key).decode() for key in bucket.list("runs/") if key.endswith(".log"))
    assert "no progress for" in log
    assert "probe_teacher" in log


def test_fault_62_a_library_that_keeps_the_interpreter_does_not_keep_the_process() -> None:
    """As a kernel that hangs in a call which holds the lock of the interpreter: no thread of Python runs any more."""
    script = """
import ctypes, sys
from llm2llm.runtime.watchdog import Watchdog

with Watchdog(0.5, lambda idle: print("never", flush=True), grace=0.5):
    print("begins", flush=True)
    ctypes.PyDLL(None).sleep(60)  # PyDLL: the call keeps the lock
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False, env=os.environ
    )
    assert done.returncode == 1
    assert done.stdout == "begins\n"
    assert 'File "<string>", line 7' in done.stderr


def test_a_step_that_ends_in_time_leaves_no_timer(tmp_path: Path) -> None:
    script = """
import time
from llm2llm.runtime.watchdog import Watchdog

with Watchdog(0.2, lambda idle: None, grace=0.2) as watchdog:
    watchdog.wrap_progress(lambda event: None)({})
time.sleep(1)
print("lives")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False, env=os.environ
    )
    assert (done.returncode, done.stdout) == (0, "lives\n")
