"""`llm2llm run` of the example, over data in a folder."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import run_command
from tests.support.keyword import CHECKOUT, EXAMPLE
from tests.support.teacher import KEY, Teacher


@dataclass(frozen=True)
class Workplace:
    """The example's data in a folder, with a small evaluation set."""

    data: Path

    def command(self, out: Path, teacher: Teacher, *further: str) -> list[str]:
        """Returns the arguments of `llm2llm`."""
        settings = {
            "data.seed.uri": (self.data / "seed.jsonl").as_uri(),
            "data.evaluation.uri": (self.data / "few.jsonl").as_uri(),
            "data.test.uri": (self.data / "others.jsonl").as_uri(),
            "student.model.uri": (self.data / "model").as_uri(),
            "generate.teacher.baseUrl": teacher.base_url,
            "maxIterations": 2,
            "train.hyperparameters.numTrainEpochs": 8,
        }
        sets = [part for path, value in settings.items() for part in ("--set", f"spec.{path}={value}")]
        options = ["--workdir", str(out), "--secret", "teacher/api-key=KEYWORD_KEY"]
        return ["run", str(EXAMPLE), *options, *sets, *further]


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run: its work folder, what it printed, and the requests that its teacher answered."""

    out: Path
    told: str
    paid: int


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT / "images"), "KEYWORD_KEY": KEY, **changes}


def run(command: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    return run_command(command, env=environment(**changes))


def digests(out: Path) -> dict[str, str]:
    """The digest of every committed step."""
    return {
        str(path.relative_to(out)): json.loads(path.read_text())["digest"]
        for path in sorted(out.rglob("manifest.json"))
    }
