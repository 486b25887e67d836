"""Shows a local run: a progress bar and a growing table, or plain lines if there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from llm2llm.local.progress import progress_of
from llm2llm.loop.outcomes import StepId, StepResult, describe_iteration, iteration_label
from llm2llm.loop.stages import STAGES
from llm2llm.loop.stopping import objective_metric
from llm2llm.plaintext import plain_lines
from llm2llm.records import ACCURACY, Metric, Report, Stage

COLUMNS = ("iteration", "train rows", ACCURACY, "interval", "mistakes", "generated", "kept", "tokens")


@dataclass
class IterationView:
    """One row of the table, filled in as its steps end."""

    index: int
    metric: str = ACCURACY
    train_rows: int | None = None
    score: Metric | None = None
    mistakes: int | None = None
    generated: int | None = None
    kept: int | None = None
    tokens: int | None = None

    def take(self, report: Report) -> None:
        """Takes the numbers from a step's report."""
        match report.stage:
            case Stage.TRAIN:
                self.train_rows = report.train_examples
            case Stage.EVALUATE:
                has_metric = any(metric.name == self.metric for metric in report.metrics)
                self.score = objective_metric(StepResult.of(report), self.metric if has_metric else ACCURACY)
                self.mistakes = report.mistakes
            case Stage.GENERATE:
                self.generated, self.kept = report.generated, report.kept
                self.tokens = report.usage.teacher_input_tokens + report.usage.teacher_output_tokens

    def cells(self) -> list[str]:
        score = self.score
        return [
            iteration_label(self.index),
            _number(self.train_rows),
            f"{score.value:.3f}" if score else "",
            f"{score.low:.3f}-{score.high:.3f}" if score else "",
            _number(self.mistakes),
            _number(self.generated),
            _number(self.kept),
            _number(self.tokens),
        ]


def columns(metric: str) -> list[str]:
    """Returns the names of the columns; that of the score is the metric that best is selected by."""
    return [metric if name == ACCURACY else name for name in COLUMNS]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


class Display(Protocol):
    """Shows a run to a person."""

    def step_started(self, step: StepId) -> None:
        """Shows that a step begins."""

    def progress(self, event: Mapping[str, object]) -> None:
        """Shows the progress of a stage."""

    def step_finished(self, report: Report, *, before: bool) -> None:
        """Shows that a step ended; `before`: its output was committed already."""

    def say(self, sentence: str) -> None:
        """Shows a message."""

    def close(self) -> None:
        """Ends the display."""


@dataclass
class Lines:
    """Prints plain lines, for logs and pipes: one for each step, and one for each row of the table."""

    metric: str = ACCURACY
    iterations: dict[int, IterationView] = field(default_factory=dict)

    def step_started(self, step: StepId) -> None:
        self.say(f"{_title(step.stage, step.iteration)} ...")

    def progress(self, event: Mapping[str, object]) -> None:
        if "message" in event:
            self.say(str(event["message"]))

    def step_finished(self, report: Report, *, before: bool) -> None:
        if before:
            self.say(f"{_title(report.stage, report.iteration)}: already done")
        elif _is_news(report):
            self.say(_describe_result(report))
        if report.stage is Stage.TEST:
            self.say(describe_test(report, self.metric))
        if not STAGES[report.stage].in_table:
            return
        row = self.iterations.setdefault(report.iteration, IterationView(report.iteration, self.metric))
        row.take(report)
        if report.stage is not Stage.TRAIN:
            parts = [f"{name} {cell}" for name, cell in zip(columns(self.metric), row.cells(), strict=True) if cell]
            self.say(", ".join(parts))

    def say(self, sentence: str) -> None:
        print(plain_lines(sentence), flush=True)

    def close(self) -> None:
        """Does nothing: lines need no end."""


class Screen:
    """Shows a live table with a progress bar below it."""

    def __init__(self, steps: int, metric: str) -> None:
        self._metric = metric
        self._iterations: dict[int, IterationView] = {}
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), auto_refresh=False
        )
        self._run = self._bars.add_task("run", total=steps)
        self._step = self._bars.add_task("", total=None)
        self._facts = ""
        self._live = Live(self._view(), console=Console(), refresh_per_second=4, redirect_stderr=False)
        self._live.start()

    def step_started(self, step: StepId) -> None:
        self._bars.remove_task(self._step)  # a reset would keep the last step's total
        self._step = self._bars.add_task(_title(step.stage, step.iteration), total=None)
        self._facts = ""
        self._show()

    def progress(self, event: Mapping[str, object]) -> None:
        if "message" in event:
            self.say(str(event["message"]))
        if progress := progress_of(event):
            self._facts = ", ".join(progress.facts())
            self._bars.update(self._step, completed=progress.done, total=progress.total)
            self._show()

    def step_finished(self, report: Report, *, before: bool) -> None:
        if _is_news(report) and not before:
            self.say(_describe_result(report))
        if report.stage is Stage.TEST:
            self.say(describe_test(report, self._metric))
        if STAGES[report.stage].in_table:
            row = self._iterations.setdefault(report.iteration, IterationView(report.iteration, self._metric))
            row.take(report)
        self._bars.advance(self._run)
        self._show()

    def say(self, sentence: str) -> None:
        self._live.console.print(plain_lines(sentence), highlight=False, markup=False)

    def close(self) -> None:
        self._bars.remove_task(self._step)
        self._facts = ""
        self._show()
        self._live.stop()

    def _show(self) -> None:
        self._live.update(self._view())

    def _view(self) -> Group:
        return Group(
            iteration_table(self._iterations, self._metric), self._bars, *([Text(self._facts)] if self._facts else [])
        )


def iteration_table(iterations: Mapping[int, IterationView], metric: str) -> Table:
    """Returns the table of a run, one row per iteration."""
    table = Table()
    for name in columns(metric):
        table.add_column(name, justify="right")
    for index in sorted(iterations):
        table.add_row(*iterations[index].cells())
    return table


def display_for(steps: int, metric: str) -> Display:
    """Returns a live screen on a terminal, else lines; `metric` is the objective's."""
    return Screen(steps, metric) if sys.stdout.isatty() else Lines(metric)


def describe_test(report: Report, metric: str) -> str:
    """Describes the test score, the number to report, with its interval."""
    score = next((candidate for candidate in report.metrics if candidate.name == metric), report.metrics[0])
    return (
        f"test set, {describe_iteration(report.iteration)}: {score.name} {score.value:.3f} "
        f"({score.low:.3f}-{score.high:.3f}, {score.examples} rows)"
    )


def _is_news(report: Report) -> bool:
    """Returns whether a report's message says something that the table does not show."""
    in_table = report.stage is Stage.EVALUATE or (report.stage is Stage.GENERATE and report.kept == report.generated)
    return bool(report.message) and not in_table


def _describe_result(report: Report) -> str:
    """Describes what a step reports besides its numbers: dropped rows, an insufficient budget, rejected answers."""
    return f"{_title(report.stage, report.iteration)}: {report.message}"


def _title(stage: Stage, iteration: int) -> str:
    return "prepare" if stage is Stage.PREPARE else f"{describe_iteration(iteration)}: {stage.value.lower()}"
