"""PURE: what a run has done so far, as later decisions see it."""

from __future__ import annotations

from dataclasses import dataclass

from llm2llm.records import Metric, Paired, Report, Stage


@dataclass(frozen=True)
class StepId:
    """One (iteration, stage) of a run; Prepare is of iteration 0, Test of the one whose adapter it scores."""

    stage: Stage
    iteration: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a committed step told: the part of its report that later decisions need."""

    step: StepId
    digest: str
    metrics: tuple[Metric, ...] = ()
    mistakes: int = 0
    kept: int = 0
    model_uri: str = ""
    paired: Paired | None = None

    @classmethod
    def of(cls, report: Report) -> Outcome:
        """The outcome that a successful report tells."""
        return cls(
            step=StepId(report.stage, report.iteration),
            digest=report.digest,
            metrics=report.metrics,
            mistakes=report.mistakes,
            kept=report.kept,
            model_uri=report.model_uri,
            paired=report.paired,
        )
