"""The possible verdicts of a policy. Every policy takes the inputs and the status, and returns one of these or None."""

from __future__ import annotations

from dataclasses import dataclass

from llm2llm.records import Kind, Report
from llm2llm_operator.model.status import RetryCounts


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended without a result, as far as the cluster shows it.

    Attributes:
        rejection: what the kubelet says of the whole pod, such as an eviction: that ended the step, so it comes first.
        refused: a kubelet did not run the pod that the scheduler gave it.
        unstarted: no container of the step ran, so nothing is known of its output.
    """

    exit_code: int | None = None
    report: Report | None = None
    message: str = ""
    pod_reason: str = ""
    job_vanished: bool = False
    refused: bool = False
    unstarted: bool = False
    rejection: str = ""

    @property
    def words(self) -> str:
        """The reason to show to people: the step's own message if it has one, after that of a kubelet."""
        own = self.report.message if self.report else ""
        own = own or self.message or self.pod_reason or f"exit code {self.exit_code}"
        return f"{self.rejection}; {own}" if self.rejection else own


@dataclass(frozen=True)
class Again:
    """Start the next attempt of the same step."""

    kind: Kind
    micro_batch: int
    retries: RetryCounts
    message: str


@dataclass(frozen=True)
class Hold:
    """Suspend the run until a person raises `spec.retry`."""

    reason: str
    message: str


@dataclass(frozen=True)
class GiveUp:
    """Fail the run; the message says what to change and names `spec.retry`."""

    reason: str
    message: str


@dataclass(frozen=True)
class OverBudget:
    """A limit of the budget is reached; `spec.budget.onExceeded` says what follows."""

    message: str


@dataclass(frozen=True)
class Waiting:
    """Reason and message of Progressing=False. `hopeless`: waiting will not help."""

    reason: str
    message: str
    hopeless: bool = False
