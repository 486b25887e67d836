"""vLLM in a process of its own: what it leaves behind ends with that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.steps import document_of

from llm2llm.runtime.context import Step


def in_a_process_with_vllm(code: str, *arguments: str, processes: int = 1) -> str:
    """What a process of its own prints; its vLLM divides the model over so many more, each with a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    several = {"VLLM_CPU_OMP_THREADS_BIND": "|".join(str(cores[number % len(cores)]) for number in range(processes))}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ
        | {
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "OMP_NUM_THREADS": "1",
            **(several if processes > 1 else {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run_step_with_vllm(step: Step, store: Path, scratch: Path) -> None:
    """Runs a step whose engine is vLLM."""
    processes = step.spec.evaluate.tensor_parallel_size
    in_a_process_with_vllm(_RUN_STEP, document_of(step).to_json(), str(store), str(scratch), processes=processes)


_RUN_STEP = """
import sys
from pathlib import Path
from llm2llm.runtime.context import Step
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore

step, store, folder = Step.of(StepDocument.model_validate_json(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
run_step(step, LocalStore(store), StepContext(pod_uid="vllm", scratch=folder))
"""
