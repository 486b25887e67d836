"""The same manifest without a cluster, and the digests of its steps to compare with those in a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.platform import Platform

Digests = dict[tuple[str, int], str]
"""By stage and iteration."""


def run_without_a_cluster(platform: Platform, document: dict[str, Any], folder: Path) -> Digests:
    """Runs the manifest by `llm2llm run`, with one thread as a small machine's pods have."""
    file = folder / "run.yaml"
    file.write_text(json.dumps(document))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TEACHER_KEY": platform.teacher.key,
        "AWS_ACCESS_KEY_ID": platform.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": platform.s3.secret_key,
    }
    command = [sys.executable, "-m", "llm2llm.cli", "run", str(file), "--workdir", str(folder / "out")]
    command += ["--secret", "teacher/api-key=TEACHER_KEY"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    reports = [json.loads(path.read_text())["report"] for path in (folder / "out").glob("**/manifest.json")]
    return {(report["stage"], report.get("iteration", 0)): report["digest"] for report in reports if report}


def digests_of(status: dict[str, Any]) -> Digests:
    """The digests that a run's status tells."""
    told = {(step["stage"], row["index"]): step["digest"] for row in status["iterations"] for step in row["steps"]}
    return told | {("Prepare", 0): status["inputsDigest"]}
