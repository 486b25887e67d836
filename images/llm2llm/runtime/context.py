"""Defines the input and output of a stage.

It gets the step, parsed once, and the context of this process; it returns its files and report.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm2llm.api.pods import StepBlock
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.layout import run_root
from llm2llm.loop.outcomes import StepId
from llm2llm.loop.stages import step_block, step_folder
from llm2llm.records import Kind, Report, Stage, StepDocument, Usage
from llm2llm.runtime.masking import Masker


@dataclass(frozen=True)
class Step:
    """One step to run: its document, with the run's spec parsed.

    Attributes:
        spec: as it was when the step was created; stored specs are read tolerantly.
        parents: folder to digest of every committed output that it reads.
        micro_batch: upper limit after running out of GPU memory; 0: none.
        gpu_seconds: what the run has spent so far, for a budget in money.
    """

    stage: Stage
    spec: AugmentationRunSpec
    namespace: str
    run: str
    run_uid: str
    iteration: int = 0
    attempt: int = 0
    kind: Kind = Kind.RUN
    parents: Mapping[str, str] = field(default_factory=dict)
    micro_batch: int = 0
    gpu_seconds: int = 0

    @classmethod
    def of(cls, document: StepDocument) -> Step:
        """Parses a step document.

        Raises:
            ValidationError: its spec cannot be read.
        """
        return cls(
            stage=document.stage,
            spec=AugmentationRunSpec.model_validate(document.spec),
            namespace=document.namespace,
            run=document.run,
            run_uid=document.run_uid,
            iteration=document.iteration,
            attempt=document.attempt,
            kind=document.kind,
            parents=document.parents,
            micro_batch=document.micro_batch,
            gpu_seconds=document.gpu_seconds,
        )

    @property
    def id(self) -> StepId:
        """Stage and iteration."""
        return StepId(self.stage, self.iteration)

    @property
    def folder(self) -> str:
        """Folder of its output below the run's root."""
        return step_folder(self.stage, self.iteration)

    @property
    def root(self) -> str:
        """URI of the folder that holds everything of its run."""
        return run_root(self.spec, self.namespace, self.run, self.run_uid)

    @property
    def block(self) -> StepBlock:
        """Image, resources and deadlines of its stage."""
        return step_block(self.spec, self.stage)

    @property
    def address(self) -> dict[str, Any]:
        """The fields that identify this step in its reports."""
        return {"run_uid": self.run_uid, "stage": self.stage, "iteration": self.iteration, "attempt": self.attempt}


@dataclass(frozen=True)
class StageResult:
    """The output of a stage: its files by their logical names, and the report that is committed with them."""

    files: Mapping[str, bytes | Path]
    report: Report


def print_progress(event: Mapping[str, object]) -> None:
    """Prints an event as one JSON line to stdout: the progress of a pod is in its log."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


@dataclass
class StepContext:
    """The context of one run of a stage in this process.

    `pod_uid` names this writer (the pod's UID in a cluster, else a random id). `stopping` is set by SIGTERM: a stage
    that sees it saves its work and raises `Terminated`. `confirm` is called before anything is paid for, and raises if
    this process may not (local/hold.py). `mask` hides this process's secrets in a text. `seconds` collects where the
    time went; `usage` is what the step has paid for so far, also for the report of a failed attempt.
    """

    pod_uid: str
    scratch: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[Mapping[str, object]], None] = print_progress
    mask: Masker = field(default_factory=lambda: Masker({}))
    confirm: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    seconds: dict[str, float] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the wall-clock time of a block to `seconds[part]`."""
        begin = self.clock()
        try:
            yield
        finally:
            self.seconds[part] = round(self.seconds.get(part, 0.0) + self.clock() - begin, 3)
