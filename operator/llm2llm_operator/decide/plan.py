"""What should happen next to a run: a pure function of the run, what the cluster shows and the time.

`plan` is a list of questions in the order they are asked. It never waits and never writes; `reconcile.py` carries out
what it returns: first the status, then the Job (rule C5: an attempt is persisted before its Job is created).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from llm2llm.layout import run_root
from llm2llm.loop.outcomes import StepId
from llm2llm.loop.steps import awaits_approval, describe_release, next_step
from llm2llm.loop.stopping import Finished
from llm2llm_operator.constants import COMPLETE, FAILED, RECONCILING, STALLED, STOPPING, SUSPENDED
from llm2llm_operator.decide import attempt
from llm2llm_operator.decide import history as st
from llm2llm_operator.decide import usage as accounts
from llm2llm_operator.decide.inputs import Inputs, Plan, RunEvent, progress, with_condition
from llm2llm_operator.decide.policies import budget, ttl
from llm2llm_operator.decide.policies.cleanup import obsolete_jobs
from llm2llm_operator.model.observation import Job
from llm2llm_operator.model.status import CurrentStep, Run, RunStatus

BY_USER = "SuspendedByUser"
AWAITING_APPROVAL = "AwaitingApproval"


def plan(facts: Inputs, status: RunStatus) -> Plan:
    """Decides what comes next.

    Args:
        facts: the run and what the cluster shows of it.
        status: the run's status as it is in the API.
    """
    if status.best and status.observed_generation != facts.run.generation:
        status = st.with_best(status, facts.spec)  # another objective, another best
    status = status.model_copy(update={"observed_generation": facts.run.generation})
    if not status.start_time:
        status = _accept(facts, status)
    decided = _decide(facts, status)
    told = accounts.with_cost(decided.status, facts.spec)
    return replace(decided, status=told.model_copy(update={"phase": st.phase_of(told)}))


def plan_for_invalid_spec(run: Run, status: RunStatus, error: ValidationError, now: datetime) -> Plan:
    """The spec passed the API server's schema and cannot be read all the same: the run fails and says where."""
    problems = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    status = status.model_copy(update={"observed_generation": run.generation})
    status = st.failed(status, "InvalidSpec", problems, now=now, generation=run.generation)
    return Plan(status.model_copy(update={"phase": st.phase_of(status)}))


def _decide(facts: Inputs, status: RunStatus) -> Plan:
    """The questions, in their order."""
    if status.is_true(COMPLETE):
        if not _may_continue(facts, status):
            status = st.observed(status, COMPLETE, facts.run.generation)
            return _finished(facts, status, delete=obsolete_jobs(facts.run, status, facts.seen))
        return _continue_run(facts, status)
    if status.is_true(FAILED):
        if facts.spec.retry <= status.retry:
            return _finished(facts, status)
        status = _retry(facts, status, FAILED, STALLED)
    if facts.spec.suspend:
        return _suspend(facts, status)
    held = _reason_of_hold(status)
    if held and facts.spec.retry > status.retry:
        status = _retry(facts, status, SUSPENDED)
    elif held and _still_held(facts, status, held):
        return Plan(status, delete=_live_jobs(facts))
    elif held:
        status = with_condition(facts, status, SUSPENDED, False, "Resumed")
    return _advance(facts, status)


def _continue_run(facts: Inputs, status: RunStatus) -> Plan:
    """A finished run goes on where it ended."""
    status = with_condition(facts, status, COMPLETE, False, "Continued")
    decided = _decide(facts, status.model_copy(update={"completion_time": ""}))
    told = f"the spec of generation {facts.run.generation} lets the run go on after its end"
    return replace(decided, notes=(RunEvent("Normal", "Continued", told), *decided.notes))


def _finished(facts: Inputs, status: RunStatus, delete: tuple[Job, ...] = ()) -> Plan:
    """The run has ended; its time to live may be over, too."""
    left = ttl.seconds_left(facts, status)
    return Plan(status, delete=delete, delete_run=left == 0.0, wake_after=left or None)


def _may_continue(facts: Inputs, status: RunStatus) -> bool:
    """Whether a change of the spec (a higher `maxIterations`, another goal, more budget) lets a finished run go on.

    The budget has its say when the next Job would be created. Only a change of the spec: another operator version with
    other rules must not begin an ended run again.
    """
    condition = status.condition(COMPLETE)
    if condition is None or condition.observed_generation >= facts.run.generation:
        return False
    return isinstance(next_step(facts.spec, st.outcomes(status)), StepId)


def _still_held(facts: Inputs, status: RunStatus, reason: str) -> bool:
    """Whether what the run waits for has not happened; a raised `spec.retry` ends every hold."""
    match reason:
        case "SuspendedByUser":
            return False  # spec.suspend was asked before
        case "AwaitingApproval":
            following = next_step(facts.spec, st.outcomes(status))
            return isinstance(following, StepId) and awaits_approval(facts.spec, following)
        case budget.REASON:
            condition = status.condition(SUSPENDED)
            unchanged = condition is not None and condition.observed_generation >= facts.run.generation
            current = status.current_step
            return unchanged or (current is not None and bool(budget.reached(facts.spec, status, current)))
        case _:
            return True


def _accept(facts: Inputs, status: RunStatus) -> RunStatus:
    """The first status of a run: images are pinned, and kstatus is told that the spec is accepted."""
    run = facts.run
    status = st.accepted(status, facts.images, run_root(facts.spec, run.namespace, run.name, run.uid), facts.now)
    status = with_condition(facts, status, RECONCILING, False, "Accepted")
    return with_condition(facts, status, STALLED, False, "Accepted")


def _advance(facts: Inputs, status: RunStatus) -> Plan:
    """The run is neither ended nor held: look at the attempt in progress, or begin the next step."""
    current = status.current_step
    if current is None:
        return _begin_next(facts, status)
    if current.state == STOPPING:
        return _stop_for_budget(facts, status, current)
    job = facts.seen.job(current.job_name)
    if job is None:
        return attempt.judge_missing(facts, status, current)
    if job.owner_uid != facts.run.uid:
        message = f"Job {job.name} exists and belongs to somebody else: delete it"
        return Plan(progress(facts, status, "InternalError", message, value=False), wake_after=60)
    if not job.ended:
        return attempt.judge_running(facts, status, current, job)
    outcome = attempt.judge_ended(facts, status, current, job)
    if isinstance(outcome, Plan):
        return outcome
    following = _begin_next(facts, outcome.status)
    return replace(following, notes=(outcome.note, *following.notes))


def _begin_next(facts: Inputs, status: RunStatus) -> Plan:
    """Asks the loop what comes next, and begins its first attempt."""
    following = next_step(facts.spec, st.outcomes(status))
    if isinstance(following, Finished):
        return attempt.complete_run(facts, status, following.reason, following.message)
    if awaits_approval(facts.spec, following):
        return attempt.hold_run(facts, status, AWAITING_APPROVAL, describe_release(following, status.artifacts_uri))
    return attempt.create_job(facts, status, attempt.first_attempt(facts, status, following))


def _reason_of_hold(status: RunStatus) -> str:
    condition = status.condition(SUSPENDED)
    return condition.reason if condition and condition.status == "True" else ""


def _retry(facts: Inputs, status: RunStatus, *conditions: str) -> RunStatus:
    """`spec.retry` was raised: the step goes on with its next attempt, with fresh limits (rule C17)."""
    status = status.model_copy(update={"retry": facts.spec.retry, "completion_time": ""})
    for kind in conditions:
        status = with_condition(facts, status, kind, False, "Retried")
    current = status.current_step
    if current is None:
        return status
    return status.model_copy(update={"current_step": attempt.next_attempt(facts, current)})


def _live_jobs(facts: Inputs) -> tuple[Job, ...]:
    """Jobs of a held run, which should have none: a pass created them and could not write that the run goes on."""
    return tuple(
        job for job in facts.seen.jobs if job.owner_uid == facts.run.uid and not job.ended and not job.deleting
    )


def _suspend(facts: Inputs, status: RunStatus) -> Plan:
    """Deletes the Job in progress; Suspended is set only when no pod is left running (rule C7)."""
    if status.is_true(SUSPENDED):
        return Plan(status, delete=_live_jobs(facts))
    stopped = _stop_job(facts, status, "Suspending")
    if isinstance(stopped, Plan):
        return stopped
    message = "spec.suspend is true; set it to false to go on"
    status = with_condition(facts, stopped.status, SUSPENDED, True, BY_USER, message)
    status = progress(facts, status, BY_USER, message, value=False)
    return Plan(status, notes=(*stopped.notes, RunEvent("Normal", "Suspended", "no Job is left running")))


def _stop_for_budget(facts: Inputs, status: RunStatus, current: CurrentStep) -> Plan:
    """The budget was reached while a step held GPUs: its Job goes, then the run is held, or ends."""
    stopped = _stop_job(facts, status, budget.REASON)
    if isinstance(stopped, Plan):
        return stopped
    if stopped.status.current_step is None:  # the step ended well in its last moment
        return replace(_begin_next(facts, stopped.status), notes=stopped.notes)
    return attempt.over_budget(facts, stopped.status, stopped.status.current_step, current.message)


@dataclass(frozen=True)
class _Stopped:
    """Nothing of the run is left running; the step that was in progress has its next attempt, or is recorded."""

    status: RunStatus
    notes: tuple[RunEvent, ...] = ()


def _stop_job(facts: Inputs, status: RunStatus, reason: str) -> Plan | _Stopped:
    """Deletes the Job in progress, and waits for its pods to save what they have and stop."""
    current = status.current_step
    job = facts.seen.job(current.job_name) if current else None
    if current and job and job.ended and job.owner_uid == facts.run.uid:
        outcome = attempt.judge_ended(facts, status, current, job)
        if isinstance(outcome, Plan):  # it failed: what follows is persisted, and created when the run goes on
            return replace(outcome, create=None)
        again = _stop_job(facts, outcome.status, reason)
        return again if isinstance(again, Plan) else replace(again, notes=(outcome.note,))
    busy = [pod for pod in facts.seen.pods if pod.phase in ("Pending", "Running")]
    if (job and job.owner_uid == facts.run.uid) or busy:
        names = ", ".join(pod.name for pod in busy) or (job.name if job else "")
        status = progress(facts, status, reason, f"waiting for {names} to stop", value=False)
        return Plan(status, delete=(job,) if job and not job.deleting else ())
    if current and current.job_uid:
        status, current = attempt.close_interval(facts, status, current, [])
        then = attempt.next_attempt(facts, current).model_copy(update={"retries": current.retries})
        status = status.model_copy(update={"current_step": then})
    return _Stopped(status.model_copy(update={"active_since": ""}))
