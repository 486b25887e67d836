"""Decides what follows an attempt that ended without a result: another attempt, a hold, or the end of the run.

All retries are decided here (rule C11): Jobs have `backoffLimit: 0`, so every failure arrives here and is counted under
the limit of its cause.
"""

from __future__ import annotations

from llm2llm.errors import FAILS_AT_ONCE, REASONS, ExitCode
from llm2llm.records import Kind
from llm2llm_operator.constants import BACKING_OFF
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.verdicts import Again, AttemptEnd, GiveUp, Hold
from llm2llm_operator.model.observation import OOM_KILLED
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.reasons import Reason

BACKOFF_LIMIT_SECONDS = 300.0
REFUSED_BACKOFF_SECONDS = 60.0
"""Pause after a kubelet refused a pod: a device plugin that starts again, or a full node, takes minutes to recover."""
REFUSED_BACKOFF_LIMIT_SECONDS = 600.0


def after_failure(inputs: Inputs, status: RunStatus, ending: AttemptEnd) -> Again | Hold | GiveUp:
    """Decides what follows when the attempt in `status.step` ended in this way, without a result."""
    if ending.refused:
        return _after_refusal(inputs, status, ending)
    status = _with_no_refusals(status)
    step, limits = status.step, inputs.spec.retries
    spent = step.retries
    if ending.job_vanished:
        return _after_vanished(inputs, status)
    if step.collects and not ending.unstarted:
        # nothing is committed: the work must be repeated, under the limit of the failure that led to Collect
        return _transient(inputs, status, ending, "the step's output was not committed")
    if ending.exit_code in (ExitCode.TEACHER_QUOTA, ExitCode.BUDGET):
        return Hold(REASONS[ending.exit_code], _advice(ending.words))
    if ending.exit_code in FAILS_AT_ONCE:
        return GiveUp(REASONS[ending.exit_code], _advice(ending.words))
    if ending.exit_code == ExitCode.GPU_OUT_OF_MEMORY:
        micro_batch = (ending.report.micro_batch if ending.report else 0) or step.micro_batch
        if micro_batch <= 1 or spent.out_of_memory >= limits.out_of_memory:
            return GiveUp(
                Reason.OUT_OF_MEMORY,
                _advice(f"{ending.words}; train.hyperparameters.maxLength or the model is too large"),
            )
        counts = spent.updated(out_of_memory=spent.out_of_memory + 1)
        return Again(Kind.RUN, micro_batch // 2, counts, ending.words)
    if ending.pod_reason == OOM_KILLED and spent.transient >= limits.transient:
        return GiveUp(
            Reason.OUT_OF_MEMORY, _advice("the container ran out of host memory: raise its resources.limits.memory")
        )
    return _transient(inputs, status, ending, ending.words)


def after_lost_report(inputs: Inputs, status: RunStatus) -> Again | GiveUp:
    """Decides what follows a Job that succeeded without a readable report: Collect reads it from the manifest.

    If Collect finds no report either, the step is repeated under the limit of transient failures: an image that exits
    with 0 and writes no report must not be retried forever.
    """
    status = _with_no_refusals(status)
    step, limits = status.step, inputs.spec.retries
    spent = step.retries
    if not step.collects:
        return Again(Kind.COLLECT, step.micro_batch, spent, "the report was lost; reading it from the manifest")
    if spent.transient >= limits.transient:
        return GiveUp(
            Reason.REPORT_MISSING,
            _advice("the step exits with code 0 but writes no report of its own: check its image"),
        )
    counts = spent.updated(transient=spent.transient + 1)
    return Again(Kind.RUN, step.micro_batch, counts, "neither the step nor its manifest has a report")


def backoff_seconds(inputs: Inputs, status: RunStatus) -> float:
    """Returns the pause before this attempt: none before the first or a Collect, then doubling up to 5 minutes.

    After a kubelet refused a pod it is 1 minute, doubling up to 10 for each refusal in a row, also before a Collect.
    """
    step = status.step
    if step.retries.refused:
        return float(min(REFUSED_BACKOFF_SECONDS * 2 ** (step.retries.refused - 1), REFUSED_BACKOFF_LIMIT_SECONDS))
    tries = step.retries.transient
    if tries == 0 and step.state == BACKING_OFF:
        return REFUSED_BACKOFF_SECONDS  # the CRD of an older release has dropped the number of refusals
    if step.attempt == 0 or step.collects or tries == 0:
        return 0.0
    return float(min(inputs.backoff_base * 2 ** (tries - 1), BACKOFF_LIMIT_SECONDS))


def _with_no_refusals(status: RunStatus) -> RunStatus:
    """Returns the status without refusals: only those in a row count, and the attempt ended in another way."""
    return status.with_step(retries=status.step.retries.updated(refused=None))


def _after_refusal(inputs: Inputs, status: RunStatus, ending: AttemptEnd) -> Again | GiveUp:
    """Decides what follows a pod that a kubelet did not run: the same attempt again, after minutes.

    It costs no retry of the step, which did nothing wrong; like a pod that is evicted, it counts as a disruption.
    """
    step = status.step
    refused = (step.retries.refused or 0) + 1
    if refused > inputs.spec.max_disruptions:
        message = f"{ending.words}. {refused} pods in a row ended so: raise spec.maxDisruptions, then spec.retry"
        return GiveUp(Reason.TOO_MANY_DISRUPTIONS, message)
    return Again(Kind(step.kind), step.micro_batch, step.retries.updated(refused=refused), ending.words)


def _after_vanished(inputs: Inputs, status: RunStatus) -> Again | GiveUp:
    """Decides what follows a Job that vanished unrecorded: Collect reads the manifest (rule C4), up to a limit."""
    step, limits = status.step, inputs.spec.retries
    spent = step.retries
    if spent.job_deleted >= limits.job_deleted + (not step.collects):
        return GiveUp(
            Reason.JOB_DELETED,
            _advice(f"Job {step.job_name} was deleted, and retries.jobDeleted allows no further attempt"),
        )
    counts = spent.updated(job_deleted=spent.job_deleted + 1)
    return Again(Kind.COLLECT, step.micro_batch, counts, f"Job {step.job_name} was deleted by someone else")


def _transient(inputs: Inputs, status: RunStatus, ending: AttemptEnd, message: str) -> Again | GiveUp:
    step, limits = status.step, inputs.spec.retries
    spent = step.retries
    if step.collects and spent.job_deleted and not ending.unstarted:
        if spent.job_deleted > limits.job_deleted:
            return GiveUp(Reason.JOB_DELETED, _advice(f"the Job was deleted before it had a result; {message}"))
        return Again(Kind.RUN, step.micro_batch, spent, message)
    if spent.transient >= limits.transient:
        return GiveUp(Reason.STEP_FAILED, _advice(f"after {spent.transient} retries: {ending.words}"))
    counts = spent.updated(transient=spent.transient + 1)
    kind = Kind(step.kind) if ending.unstarted else Kind.RUN
    return Again(kind, step.micro_batch, counts, message)


def _advice(words: str) -> str:
    return f"{words.rstrip('.')}. Correct this, then raise spec.retry to resume from here."
