"""What a stage gets besides its step document: identity below the attempt, scratch space, and a way to hear SIGTERM."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llm2llm.records import Usage


def print_progress(event: Mapping[str, object]) -> None:
    """One JSON line on stdout: a pod's log is its progress."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


@dataclass
class StepContext:
    """One run of a stage in this process.

    `pod_uid` names this writer (the pod's UID in a cluster, a random id without one). `stopping` is set by SIGTERM: a
    stage that sees it makes its work durable and raises `Terminated`. `seconds` collects where the time went; `usage`
    is what the step has paid for so far, also for the report of an attempt that fails.
    """

    pod_uid: str
    scratch: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[Mapping[str, object]], None] = print_progress
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
