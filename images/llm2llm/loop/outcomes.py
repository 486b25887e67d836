"""PURE: the results of a run so far, in the form that later decisions use."""

from __future__ import annotations

from dataclasses import dataclass

from llm2llm.records import Metric, Paired, Report, Stage

CLOSING = 100
"""Iteration CLOSING + n is the closing iteration after n probing ones. The number is beyond the 64 iterations that a
run can have. So a run whose `maxIterations` is raised continues at iteration n, and the meaning of a number never
depends on what the spec said at the time.
"""


@dataclass(frozen=True)
class StepId:
    """One (iteration, stage) of a run; Prepare has iteration 0, Test that of the adapter which it scores."""

    stage: Stage
    iteration: int = 0

    @property
    def closing(self) -> bool:
        """Whether it belongs to a closing iteration (`errorsFrom: Probe`), which trains on all of D and is best."""
        return self.iteration >= CLOSING

    @property
    def rounds(self) -> int:
        """Number of rounds of generation before this iteration; its student trains on the rows that they wrote.

        A stop rule applies before the last probing iteration generates, so the closing iteration has one round fewer
        than there are probing ones.
        """
        return self.iteration - CLOSING - 1 if self.closing else self.iteration


def iteration_label(iteration: int) -> str:
    """Returns the name of an iteration for a table."""
    return f"closing (after {iteration - CLOSING})" if iteration >= CLOSING else str(iteration)


def describe_iteration(iteration: int) -> str:
    """Returns the name of an iteration for a sentence."""
    if iteration >= CLOSING:
        return f"closing iteration (after {iteration - CLOSING})"
    return f"iteration {iteration}"


@dataclass(frozen=True)
class StepResult:
    """The result of a committed step: the part of its report that later decisions need."""

    step: StepId
    digest: str
    metrics: tuple[Metric, ...] = ()
    mistakes: int = 0
    kept: int = 0
    model_uri: str = ""
    paired: Paired | None = None

    @classmethod
    def of(cls, report: Report) -> StepResult:
        """Takes the result from the report of a step that succeeded."""
        return cls(
            step=StepId(report.stage, report.iteration),
            digest=report.digest,
            metrics=report.metrics,
            mistakes=report.mistakes,
            kept=report.kept,
            model_uri=report.model_uri,
            paired=report.paired,
        )
