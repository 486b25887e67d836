"""Runs one generation step in a process of its own: `python -m tests.integration.generation.worker STORE POD SCRATCH`.

The last line that it prints is its report.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from llm2llm.api.data import Artifacts
from llm2llm.errors import StepError
from llm2llm.records import StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.step import run_step
from llm2llm.storage import open_store


def main() -> int:
    step = Step.of(StepDocument.model_validate_json(os.environ["LLM2LLM_STEP"]))
    store = open_store(sys.argv[1], Artifacts(uri="s3://bucket/runs"), os.environ)
    context = StepContext(pod_uid=sys.argv[2], scratch=Path(sys.argv[3]), environ=os.environ)
    signal.signal(signal.SIGTERM, lambda *_: context.stopping.set())
    try:
        print(run_step(step, store, context).to_json())
    except StepError as error:
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
