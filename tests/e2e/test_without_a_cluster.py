from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.platform import Platform


def test_the_same_manifest_without_a_cluster_gives_the_same_digests(
    platform: Platform, undisturbed: dict[str, Any], tmp_path: Path
):
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(platform.manifest(maxIterations=2)))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TEACHER_KEY": platform.teacher.key,
        "AWS_ACCESS_KEY_ID": platform.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": platform.s3.secret_key,
    }
    command = [sys.executable, "-m", "llm2llm.cli", "run", str(file), "--workdir", str(tmp_path / "out")]
    command += ["--secret", "teacher/api-key=TEACHER_KEY"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = {
        (report["stage"], report.get("iteration", 0)): report["digest"]
        for path in (tmp_path / "out").glob("**/manifest.json")
        if (report := json.loads(path.read_text())["report"])
    }
    in_cluster = {
        (stage, row["index"]): digest for row in undisturbed["iterations"] for stage, _, _, digest in row["steps"]
    }
    assert {key: digest for key, digest in told.items() if key[0] != "Prepare"} == in_cluster
    assert told["Prepare", 0] == undisturbed["inputs"]
