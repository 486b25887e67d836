"""Runs a step of ours, or a script of the reference, in a process of its own, as both are run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.support.install import CHECKOUT
from tests.support.steps import document_of

from llm2llm.runtime.context import Step

_STEP = """
import sys
from pathlib import Path
from llm2llm.records import StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore

context = StepContext(pod_uid="pod", scratch=Path(sys.argv[3]), progress=lambda event: print(event, file=sys.stderr))
run_step(Step.of(StepDocument.model_validate_json(sys.argv[1])), LocalStore(Path(sys.argv[2])), context)
"""


def run_step_alone(step: Step, store: Path, scratch: Path, *, threads: int = 1) -> float:
    """Runs a step over a store in a folder; returns the seconds from the process's start to its end."""
    arguments = [sys.executable, "-c", _STEP, document_of(step).to_json(), str(store), str(scratch)]
    return _run(arguments, {"OMP_NUM_THREADS": str(threads)})


def run_reference(*arguments: object, threads: int = 1) -> float:
    """Runs `benchmarks.reference` with these arguments; returns the seconds from the process's start to its end."""
    # bitsandbytes is here for QLoRA alone: the second that it takes to load torch's compiler is not the reference's.
    changes = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(CHECKOUT), "TORCHDYNAMO_DISABLE": "1"}
    return _run([sys.executable, "-m", "benchmarks.reference", *map(str, arguments)], changes)


def _run(command: list[str], changes: dict[str, str]) -> float:
    began = time.monotonic()
    done = subprocess.run(command, env=os.environ | changes, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])[:200]}: {done.stderr[-2000:]}")
    return time.monotonic() - began
