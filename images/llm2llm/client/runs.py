"""What a client says of a run, and the verbs that every client has (those of Kubeflow's SDK)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import Metric

ENDED = ("Succeeded", "Failed")
HELD = "Suspended"

Manifest = str | Path | Mapping[str, Any]
"""A file with the run, or the run itself as a document of the API."""


@dataclass(frozen=True)
class IterationResult:
    """An iteration, as far as it is done.

    Attributes:
        name: its number; the closing iteration has a name.
        metrics: all scores of its student.
        judged: the score that the objective refers to.
        mistakes: rows that the student got wrong, of which the teacher writes more.
        kept: rows of the teacher that the filters kept.
    """

    index: int
    name: str
    train_rows: int | None = None
    metrics: Sequence[Metric] = ()
    judged: Metric | None = None
    mistakes: int | None = None
    kept: int | None = None

    @property
    def score(self) -> float | None:
        """The value of the score that the objective refers to."""
        return self.judged.value if self.judged else None


@dataclass(frozen=True)
class Run:
    """A run, as it was when it was asked for.

    Attributes:
        phase: Pending, Running, Suspended, Succeeded, or Failed; on this machine, Suspended is one that was stopped.
        message: what it does or waits for, or why it ended.
        best: index of the best iteration so far.
        model_uri, digest: of the best student so far; '' if there is none.
        artifacts: root of everything that it has produced; '' if it has not begun.
    """

    name: str
    namespace: str
    spec: AugmentationRunSpec
    phase: str
    message: str = ""
    iterations: Sequence[IterationResult] = ()
    best: int | None = None
    model_uri: str = ""
    digest: str = ""
    artifacts: str = ""

    @property
    def ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.phase in ENDED


class RunClient(Protocol):
    """Runs on a cluster, or on this machine.

    Raises:
        ConfigurationError: the request is wrong, or there is no such run.
        InvalidManifest: a manifest is; the message lists all problems with their paths.
        Transient: the request may succeed later.
    """

    def create(self, manifest: Manifest) -> Run:
        """Creates a run, and returns it."""

    def list(self) -> Sequence[Run]:
        """Returns all runs, by name."""

    def get(self, name: str) -> Run:
        """Returns a run."""

    def get_logs(
        self, name: str, *, stage: str | None = None, iteration: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Yields the lines of the newest log of a run, or of a step's newest; as they come if asked to follow."""

    def wait(self, name: str, *, timeout: float | None = None) -> Run:
        """Waits until a run has ended or is held, and returns it.

        Raises:
            TimeoutError: it goes on after so many seconds.
        """

    def delete(self, name: str) -> None:
        """Ends a run and forgets it; its artifacts stay."""
