"""Defines how a step can end, and what each ending means for retries.

This one table is used by the data plane (which exits with these codes), by the control plane (which decides by them)
and by the documentation.

    StepError
    ├── ConfigurationError       64  the spec cannot work as written
    ├── DataError                65  the user's rows are broken
    ├── AuthenticationError      66  a key was rejected
    ├── TeacherQuotaExhausted    67  the teacher's account is out of credit
    ├── BudgetReached            68  the run's own budget is spent
    ├── GpuOutOfMemory           69  even the smallest trial did not fit
    ├── IncompatibleArtifacts    70  the store has another experiment's output under this path
    ├── LowAcceptance            71  the filters rejected too many of the teacher's rows
    ├── MetricInvalid            72  NaN or infinite
    ├── Transient                75  try again later
    └── Terminated              143  stopped by SIGTERM, after a checkpoint
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `llm2llm step`; any other code counts as transient."""

    DONE = 0
    BAD_CONFIGURATION = 64
    BAD_DATA = 65
    AUTHENTICATION = 66
    TEACHER_QUOTA = 67
    BUDGET = 68
    GPU_OUT_OF_MEMORY = 69
    INCOMPATIBLE = 70
    LOW_ACCEPTANCE = 71
    METRIC_INVALID = 72
    TRANSIENT = 75
    TERMINATED = 143


class StepError(Exception):
    """A step ended without a result; the message says what was wrong, where, and what to do."""

    exit_code: ExitCode = ExitCode.TRANSIENT
    reason: str = "StepFailed"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigurationError(StepError):
    exit_code = ExitCode.BAD_CONFIGURATION
    reason = "InvalidSpec"


class DataError(StepError):
    exit_code = ExitCode.BAD_DATA
    reason = "InvalidData"


class AuthenticationError(StepError):
    exit_code = ExitCode.AUTHENTICATION
    reason = "AuthenticationFailed"


class TeacherQuotaExhausted(StepError):
    exit_code = ExitCode.TEACHER_QUOTA
    reason = "TeacherQuotaExhausted"


class BudgetReached(StepError):
    exit_code = ExitCode.BUDGET
    reason = "BudgetExceeded"


class GpuOutOfMemory(StepError):
    exit_code = ExitCode.GPU_OUT_OF_MEMORY
    reason = "OutOfMemory"

    def __init__(self, message: str, micro_batch: int) -> None:
        super().__init__(message)
        self.micro_batch = micro_batch

    def __reduce__(self) -> tuple[type[GpuOutOfMemory], tuple[str, int]]:
        return type(self), (self.message, self.micro_batch)  # it is sent between processes


class IncompatibleArtifacts(StepError):
    exit_code = ExitCode.INCOMPATIBLE
    reason = "IncompatibleArtifacts"


class LowAcceptance(StepError):
    exit_code = ExitCode.LOW_ACCEPTANCE
    reason = "LowAcceptance"


class MetricInvalid(StepError):
    exit_code = ExitCode.METRIC_INVALID
    reason = "MetricInvalid"


class Transient(StepError):
    exit_code = ExitCode.TRANSIENT
    reason = "Transient"


class Terminated(StepError):
    exit_code = ExitCode.TERMINATED
    reason = "Terminated"


class InvalidManifest(ValueError):
    """A run's file is rejected before anything starts; `problems` has one line per problem, with its path."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


FAILS_AT_ONCE: frozenset[int] = frozenset(
    {
        ExitCode.BAD_CONFIGURATION,
        ExitCode.BAD_DATA,
        ExitCode.AUTHENTICATION,
        ExitCode.INCOMPATIBLE,
        ExitCode.LOW_ACCEPTANCE,
        ExitCode.METRIC_INVALID,
    }
)
"""Codes that no retry can fix: the run fails with the reason below until a person raises `spec.retry`."""

REASONS: dict[int, str] = {
    error.exit_code: error.reason
    for error in (
        ConfigurationError,
        DataError,
        AuthenticationError,
        TeacherQuotaExhausted,
        BudgetReached,
        GpuOutOfMemory,
        IncompatibleArtifacts,
        LowAcceptance,
        MetricInvalid,
    )
}


@dataclass(frozen=True)
class Ending:
    """A way that a step ends, described for people (docs/reference/endings.md is generated from ENDINGS).

    Attributes:
        code: the exit code; empty stands for any other.
        reason: reason on the run, if this ends or holds it.
        meaning: what happened.
        follows: what the operator does about it.
    """

    code: str
    reason: str
    meaning: str
    follows: str


def _ending(error: type[StepError], meaning: str, follows: str = "Failed") -> Ending:
    return Ending(str(int(error.exit_code)), error.reason, meaning, follows)


ENDINGS: tuple[Ending, ...] = (
    Ending("0", "", "done and committed", "the next step"),
    Ending(
        "0, no report",
        "ReportMissing",
        "the report was lost",
        "it is read again from the manifest; failing that, the step is repeated, up to `retries.transient` times",
    ),
    _ending(ConfigurationError, "the spec cannot work as written"),
    _ending(DataError, "broken rows; the message has the file and line numbers"),
    _ending(AuthenticationError, "a key was rejected; the message names the Secret and key"),
    _ending(
        TeacherQuotaExhausted,
        "the teacher's account is out of credit",
        "held: Suspended until `spec.retry` is raised",
    ),
    _ending(
        BudgetReached,
        "the run's budget is spent",
        "depends on `budget.onExceeded`: held until the budget is raised, Complete with the best adapter so far, or "
        "Failed",
    ),
    _ending(
        GpuOutOfMemory,
        "out of GPU memory",
        "the next attempt with half the micro-batch size, up to `retries.outOfMemory` times",
    ),
    _ending(IncompatibleArtifacts, "the store contains another experiment's output under this path"),
    _ending(LowAcceptance, "the filters rejected too many of the teacher's rows"),
    _ending(MetricInvalid, "a loss, weight, or score is NaN or infinite"),
    Ending(
        f"{int(ExitCode.TRANSIENT)}, any other",
        StepError.reason,
        "transient",
        "the next attempt after a pause, up to `retries.transient` times",
    ),
    Ending(
        str(int(ExitCode.TERMINATED)), "", "stopped by SIGTERM after saving a checkpoint", "its Job starts another pod"
    ),
)
