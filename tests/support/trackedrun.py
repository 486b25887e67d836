"""A small committed run, one iteration after the other, for tests of what is written about it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from llm2llm.records import Example, Prediction, Report, Stage, to_jsonl
from llm2llm.runtime.context import Step, StepContext
from llm2llm.runtime.masking import masker_of
from llm2llm.step import run_step
from llm2llm.storage import LocalStore
from tests.support import builders
from tests.support.steps import commit_step, step_of

ANSWERS = to_jsonl([Prediction(id="s0", output="a", correct=False, verdict="wrong")])


class TrackedRun:
    """Of `builders.spec`, in a folder.

    Attributes:
        adapters: how the addresses of its adapters begin.
        events: what the steps said.
        stopping: set if they are told to stop.
    """

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder)
        self.adapters = "s3://b/adapter"
        self.events: list[dict[str, Any]] = []
        self.stopping = threading.Event()
        rows = to_jsonl([Example(id="s0", fields={"prompt": "p"}, completion="x")])
        commit_step(self.store, step_of(Stage.PREPARE), {"seed.jsonl": rows, "evaluation.jsonl": b""})

    def iterate(self, index: int, score: float) -> None:
        """Commits an iteration: after another one also the round of that one."""
        if index:
            commit_step(self.store, step_of(Stage.GENERATE, index - 1), {"synthetic.jsonl": b"", "rejected.jsonl": b""})
        commit_step(self.store, step_of(Stage.TRAIN, index), model_uri=f"{self.adapters}{index}")
        files = {"predictions.seed.jsonl": ANSWERS, "predictions.evaluation.jsonl": b""}
        metrics = (builders.accuracy(score),)
        commit_step(self.store, step_of(Stage.EVALUATE, index), files, metrics=metrics)

    def step_again(self, index: int, environ: dict[str, str] | None = None, **changes: Any) -> Report:
        """Runs an evaluation that is committed, as a retry would; returns its report, and keeps its events."""
        step: Step = step_of(Stage.EVALUATE, index, **changes)
        context = StepContext(
            "pod-b",
            Path("unused"),
            environ or {},
            self.stopping,
            lambda event: self.events.append(dict(event)),
            mask=masker_of(step.spec, environ or {}),
        )
        return run_step(step, self.store, context)
