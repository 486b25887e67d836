"""What a policy can say. Every policy takes the inputs and the status, and answers with one of these or with None."""

from __future__ import annotations

from dataclasses import dataclass

from llm2llm.records import Kind, Report
from llm2llm_operator.model.status import RetryCounts


@dataclass(frozen=True)
class Ending:
    """How an attempt ended without a result, as far as the cluster knows."""

    exit_code: int | None = None
    report: Report | None = None
    message: str = ""
    pod_reason: str = ""
    job_vanished: bool = False

    @property
    def words(self) -> str:
        """What to tell people: the step's own words where there are any."""
        if self.report and self.report.message:
            return self.report.message
        return self.message or self.pod_reason or f"exit code {self.exit_code}"


@dataclass(frozen=True)
class Again:
    """The next attempt of the same step."""

    kind: Kind
    micro_batch: int
    retries: RetryCounts
    message: str


@dataclass(frozen=True)
class Hold:
    """The run is suspended until a person raises `spec.retry`."""

    reason: str
    message: str


@dataclass(frozen=True)
class GiveUp:
    """The run fails; the message says what to change and names `spec.retry`."""

    reason: str
    message: str


@dataclass(frozen=True)
class OverBudget:
    """A limit of the budget stands in the way; `spec.budget.onExceeded` says what follows."""

    message: str


@dataclass(frozen=True)
class Waiting:
    """Reason of Progressing=False, and the message. `hopeless`: no waiting will mend it."""

    reason: str
    message: str
    hopeless: bool = False
