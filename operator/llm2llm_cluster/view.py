"""PURE: what is shown of a run that is watched, and what of it has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm2llm.local.progress import Progress, event_of, progress_of
from llm2llm.plaintext import plain
from llm2llm_cluster.client import attempt_of
from llm2llm_cluster.follow import Away, LogLine, NoLog, PodIs, RunIs, Update
from llm2llm_cluster.words import headline, is_seen, iteration_rows

Run = Mapping[str, Any]
_ENDS = ("Succeeded", "Failed")


@dataclass
class View:
    """A run that is watched.

    Attributes:
        pod: the one whose log is read, and its step.
        message: what the step has said last.
        notice: what keeps this from being up to date.
    """

    run: Run
    pod: str = ""
    progress: Progress | None = None
    message: str = ""
    notice: str = ""
    _said: dict[str, str] = field(default_factory=dict)

    @property
    def phase(self) -> str:
        """The phase, if the status takes the newest spec into account; else none."""
        return str((self.run.get("status") or {}).get("phase") or "") if is_seen(self.run) else ""

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.phase in _ENDS

    @property
    def progress_line(self) -> str:
        """How far the step is, or what it says instead; '' if neither is known."""
        iterations = int((self.run.get("spec") or {}).get("maxIterations") or 0)
        return self.progress.describe(iterations) if self.progress else self.message

    def take(self, update: Update) -> None:
        """Takes what has happened."""
        match update:
            case RunIs(run):
                self.run, self.notice = run, ""
                self._drop_what_is_over()
            case Away(message):
                self.notice = f"{message} (waiting)"
            case PodIs(pod):
                self.pod = f"{pod['metadata']['name']}: {attempt_of(pod)}"
                self.progress, self.message = None, ""
            case NoLog(message):
                self.message, self.progress = f"its log cannot be read: {message}", None
            case LogLine(text):
                self._take_line(text)

    def _take_line(self, text: str) -> None:
        event = event_of(text)
        if event is None:
            return
        if progress := progress_of(event):
            self.progress = progress
        elif "message" in event:
            self.message, self.progress = str(event["message"]), None

    def _drop_what_is_over(self) -> None:
        """Forgets the progress of a step that the run is no longer at."""
        step = (self.run.get("status") or {}).get("currentStep") or {}
        at = (step.get("stage"), int(step.get("iteration") or 0))
        if self.progress and at != (self.progress.stage.value, self.progress.iteration):
            self.progress = None

    def news(self) -> Iterator[str]:
        """Yields a line for each thing that has changed since the last call."""
        lines = {"run": headline(self.run)}
        for row in iteration_rows(self.run):
            cells = [f"{name} {value}" for name, value in row.items() if value != ""]
            lines[f"iteration {row['iteration']}"] = ", ".join(cells) if len(cells) > 1 else ""
        lines |= {"pod": self.pod, "progress": self.progress_line, "notice": self.notice}
        for name, line in lines.items():
            if line != self._said.get(name, ""):
                self._said[name] = line
                if line:
                    yield plain(line)
