"""What follows an attempt that ended without a result: another attempt, or the end of the run.

One owner of retries (rule C11): Jobs have `backoffLimit: 0`, so every cause arrives here and is counted under its own
limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm2llm.api.policy import Retries
from llm2llm.errors import FAILS_AT_ONCE, REASONS, ExitCode
from llm2llm.records import Kind, Report
from llm2llm_operator.model.status import CurrentStep, RetryCounts

BACKOFF_LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, as far as the cluster knows."""

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


def after_failure(ending: Ending, current: CurrentStep, limits: Retries) -> Again | Hold | GiveUp:
    """What follows this ending of the current attempt.

    Args:
        ending: how it ended, without a result.
        current: the attempt and the retries that were spent before it.
        limits: `spec.retries`.
    """
    spent = current.retries
    if ending.job_vanished:
        return _after_vanished(current, limits)
    if current.kind == Kind.COLLECT:
        # nothing is committed: the work has to be done again, under the limit of what brought us to Collect
        return _transient(ending, current, limits, "the step's output was not committed")
    if ending.exit_code in (ExitCode.TEACHER_QUOTA, ExitCode.BUDGET):
        return Hold(REASONS[ending.exit_code], _advice(ending.words))
    if ending.exit_code in FAILS_AT_ONCE:
        return GiveUp(REASONS[ending.exit_code], _advice(ending.words))
    if ending.exit_code == ExitCode.GPU_OUT_OF_MEMORY:
        tried = (ending.report.micro_batch if ending.report else 0) or current.micro_batch
        if tried <= 1 or spent.out_of_memory >= limits.out_of_memory:
            return GiveUp(
                "OutOfMemory", _advice(f"{ending.words}; train.hyperparameters.maxLength or the model is too large")
            )
        counts = spent.model_copy(update={"out_of_memory": spent.out_of_memory + 1})
        return Again(Kind.RUN, tried // 2, counts, ending.words)
    if ending.pod_reason == "OOMKilled" and spent.transient >= limits.transient:
        return GiveUp("OutOfMemory", _advice("the container ran out of host memory: raise its resources.limits.memory"))
    return _transient(ending, current, limits, ending.words)


def lost_report(current: CurrentStep, limits: Retries) -> Again | GiveUp:
    """The Job succeeded but its report cannot be read: a Collect attempt prints it again from the manifest.

    Where that succeeds without a report, too, the step is done again, under the limit of transient failures: an image
    that exits with 0 and says nothing must not be asked for ever.
    """
    spent = current.retries
    if current.kind == Kind.RUN:
        return Again(Kind.COLLECT, current.micro_batch, spent, "the report was lost; reading it from the manifest")
    if spent.transient >= limits.transient:
        return GiveUp("ReportMissing", _advice("the step exits with 0 and tells no report of its own: check its image"))
    counts = spent.model_copy(update={"transient": spent.transient + 1})
    return Again(Kind.RUN, current.micro_batch, counts, "neither the step nor its manifest told a report")


def backoff_seconds(current: CurrentStep, base: float) -> float:
    """Pause before the current attempt: none before the first or a Collect, then doubling up to 5 minutes."""
    tries = current.retries.transient
    if current.attempt == 0 or current.kind == Kind.COLLECT or tries == 0:
        return 0.0
    return float(min(base * 2 ** (tries - 1), BACKOFF_LIMIT_SECONDS))


def _after_vanished(current: CurrentStep, limits: Retries) -> Again | GiveUp:
    """A Job that vanished unrecorded: the manifest decides first (rule C4), then its own limit."""
    spent = current.retries
    if spent.job_deleted >= limits.job_deleted + (current.kind == Kind.RUN):
        return GiveUp(
            "JobDeleted", _advice(f"Job {current.job_name} was deleted, more often than retries.jobDeleted allows")
        )
    counts = spent.model_copy(update={"job_deleted": spent.job_deleted + 1})
    return Again(Kind.COLLECT, current.micro_batch, counts, f"Job {current.job_name} was deleted by somebody")


def _transient(ending: Ending, current: CurrentStep, limits: Retries, message: str) -> Again | GiveUp:
    spent = current.retries
    if current.kind == Kind.COLLECT and spent.job_deleted:
        if spent.job_deleted > limits.job_deleted:
            return GiveUp("JobDeleted", _advice(f"the Job was deleted before it had a result; {message}"))
        return Again(Kind.RUN, current.micro_batch, spent, message)
    if spent.transient >= limits.transient:
        return GiveUp("StepFailed", _advice(f"after {spent.transient} retries: {ending.words}"))
    counts = spent.model_copy(update={"transient": spent.transient + 1})
    return Again(Kind.RUN, current.micro_batch, counts, message)


def _advice(words: str) -> str:
    return f"{words.rstrip('.')}. Correct it, then raise spec.retry to go on from here."
