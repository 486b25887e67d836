"""PURE: what a run has done so far, as later decisions see it."""

from __future__ import annotations

from dataclasses import dataclass

from llm2llm.records import Metric, Paired, Report, Stage

CLOSING = 100
"""Iteration CLOSING + n is the closing one after n probing ones. A number of its own, beyond the 64 iterations that a
run can have: so a run whose `maxIterations` is raised goes on at iteration n, and what a number means is never a matter
of what the run was told when."""


@dataclass(frozen=True)
class StepId:
    """One (iteration, stage) of a run; Prepare is of iteration 0, Test of the one whose adapter it scores."""

    stage: Stage
    iteration: int = 0

    @property
    def closing(self) -> bool:
        """Of a closing iteration (`errorsFrom: Probe`): it trains on all of D and is best."""
        return self.iteration >= CLOSING

    @property
    def rounds(self) -> int:
        """Rounds of generation before this iteration; its student trains on what they wrote.

        A stop rule fires before the last probing iteration generates, so the closing one has a round less than there
        are probing ones.
        """
        return self.iteration - CLOSING - 1 if self.closing else self.iteration


def iteration_label(iteration: int) -> str:
    """An iteration in a table."""
    return f"closing (after {iteration - CLOSING})" if iteration >= CLOSING else str(iteration)


def describe_iteration(iteration: int) -> str:
    """What people call an iteration."""
    if iteration >= CLOSING:
        return f"closing iteration (after {iteration - CLOSING})"
    return f"iteration {iteration}"


@dataclass(frozen=True)
class StepResult:
    """What a committed step told: the part of its report that later decisions need."""

    step: StepId
    digest: str
    metrics: tuple[Metric, ...] = ()
    mistakes: int = 0
    kept: int = 0
    model_uri: str = ""
    paired: Paired | None = None

    @classmethod
    def of(cls, report: Report) -> StepResult:
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
