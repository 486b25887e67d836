"""Decides what should happen next to a run: a pure function of the run, the observed cluster state and the time.

`plan` is a list of questions in the order they are asked. It never waits and never writes; `reconcile.py` carries out
what it returns: first the status, then the Job (rule C5: an attempt is persisted before its Job is created).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pydantic import ValidationError

from llm2llm.layout import run_root
from llm2llm.loop.outcomes import StepId
from llm2llm.loop.steps import awaits_approval, describe_release, next_step
from llm2llm.loop.stopping import Finished
from llm2llm_operator.build.event import RunEvent
from llm2llm_operator.constants import COMPLETE, FAILED, RECONCILING, REPLACING, STALLED, STOPPING, SUSPENDED
from llm2llm_operator.decide import attempt, history
from llm2llm_operator.decide.actions import Plan
from llm2llm_operator.decide.conditions import (
    Moment,
    mark_observed,
    phase_of,
    with_condition,
    with_failure,
    with_progress,
)
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies import budget, ttl
from llm2llm_operator.decide.policies.cleanup import live_jobs, obsolete_jobs, outlived_jobs
from llm2llm_operator.decide.usage import with_cost
from llm2llm_operator.model.observation import Observation
from llm2llm_operator.model.run import Run
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.reasons import Reason


def plan(inputs: Inputs, status: RunStatus) -> Plan:
    """Decides what comes next.

    Args:
        inputs: the run and what the cluster shows of it.
        status: the run's status as it is in the API.
    """
    if status.best and status.observed_generation != inputs.run.generation:
        status = history.with_best(status, inputs.spec)  # the objective may have changed
    status = status.updated(observed_generation=inputs.run.generation)
    if not status.start_time:
        status = _accept(inputs, status)
    decided = _decide(inputs, status)
    final = with_cost(decided.status, inputs.spec)
    return replace(decided, status=final.updated(phase=phase_of(final)))


def plan_for_invalid_spec(run: Run, status: RunStatus, seen: Observation, error: ValidationError, at: Moment) -> Plan:
    """Fails a run whose spec passed the API server's schema but cannot be parsed; the message names the fields.

    Its Jobs are deleted. A finished run stays finished: it asks nothing more of its spec.
    """
    status = status.updated(observed_generation=run.generation)
    if status.is_true(COMPLETE):
        return Plan(status)
    problems = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    status = with_failure(status, at, Reason.INVALID_SPEC, problems)
    return Plan(status.updated(phase=phase_of(status)), delete=live_jobs(seen))


def plan_for_rejected_status(inputs: Inputs, status: RunStatus, words: str) -> Plan:
    """Fails a run whose next status the API server does not accept, from the status as it is; its Job is deleted."""
    message = (
        f"the API server does not accept what a step reports ({words}): correct the step's image, or install the CRD "
        "of this operator's release; then raise spec.retry"
    )
    if status.current_step is None:
        failed = Plan(with_failure(status, inputs.at, Reason.STATUS_REJECTED, message))
    else:
        closed = attempt.close_interval(inputs, status, inputs.pods(status))
        failed = attempt.fail_run(inputs, closed, Reason.STATUS_REJECTED, message)
    final = failed.status.updated(phase=phase_of(failed.status))
    return replace(failed, status=final, delete=live_jobs(inputs.seen))


def _decide(inputs: Inputs, status: RunStatus) -> Plan:
    """Asks the questions in their order."""
    if status.is_true(COMPLETE):
        if _may_continue(inputs, status):
            return _continue_run(inputs, status)
        return _plan_finished(inputs, mark_observed(status, COMPLETE, inputs.run.generation))
    if status.is_true(FAILED):
        if inputs.spec.retry <= status.retry:
            return _plan_finished(inputs, status)
        status = _retry(inputs, status, FAILED, STALLED)
    if inputs.spec.suspend:
        return _suspend(inputs, status)
    if status.is_true(SUSPENDED):
        if _still_held(inputs, status):
            return Plan(status, delete=live_jobs(inputs.seen))
        status = _release(inputs, status)
    if status.current_step is None:
        return _begin_next(inputs, status)
    return _judge(inputs, status)


def _judge(inputs: Inputs, status: RunStatus) -> Plan:
    """Decides by the state of the attempt in progress, in a run that has neither ended nor is held."""
    if status.step.state == STOPPING:
        return _stop_for_budget(inputs, status)
    if status.step.state == REPLACING:
        return _replace_job(inputs, status)
    job = inputs.job(status)
    if job is None:
        return attempt.judge_missing(inputs, status)
    if not attempt.has_ended(inputs, status, job):
        return attempt.judge_running(inputs, status, job)
    judged = attempt.judge_ended(inputs, status, job)
    if isinstance(judged, Plan):
        return _delete_outlived_jobs(inputs, judged)
    following = _begin_next(inputs, judged.status)
    return _delete_outlived_jobs(inputs, replace(following, events=(judged.event, *following.events)))


def _delete_outlived_jobs(inputs: Inputs, decided: Plan) -> Plan:
    """Deletes the Job of an attempt whose step has ended and whose pod has not, once the result is recorded."""
    return replace(decided, delete=tuple(dict.fromkeys((*decided.delete, *outlived_jobs(inputs)))))


def _begin_next(inputs: Inputs, status: RunStatus) -> Plan:
    """Asks the loop for the next step, and begins its first attempt."""
    following = next_step(inputs.spec, history.outcomes(status))
    if isinstance(following, Finished):
        return attempt.complete_run(inputs, status, following.reason, following.message)
    if awaits_approval(inputs.spec, following):
        message = describe_release(following, status.artifacts_uri)
        return attempt.hold_run(inputs, status, Reason.AWAITING_APPROVAL, message)
    return attempt.create_job(inputs, attempt.first_attempt(inputs, status, following))


def _accept(inputs: Inputs, status: RunStatus) -> RunStatus:
    """Returns the first status of a run: pins its images, and sets the kstatus conditions of an accepted spec."""
    run = inputs.run
    root = run_root(inputs.spec, run.namespace, run.name, run.uid)
    status = history.accepted(status, inputs.images, root, inputs.now)
    status = with_condition(status, inputs.at, RECONCILING, False, Reason.ACCEPTED)
    return with_condition(status, inputs.at, STALLED, False, Reason.ACCEPTED)


# --- ended runs


def _plan_finished(inputs: Inputs, status: RunStatus) -> Plan:
    """Handles a run that has ended: deletes it once its time to live has passed.

    A Job is left if a pass recorded the end and could not delete it.
    """
    delete = outlived_jobs(inputs)
    if status.is_true(COMPLETE):
        delete += obsolete_jobs(inputs, status)
    seconds = ttl.seconds_left(inputs, status)
    return Plan(status, delete=delete, delete_run=seconds == 0.0, wake_after=seconds or None)


def _may_continue(inputs: Inputs, status: RunStatus) -> bool:
    """Returns whether a change of the spec (a higher `maxIterations`, another goal, more budget) continues a finished
    run.

    The budget is checked when the next Job would be created. Only a change of the spec counts: another operator version
    with other rules must not restart an ended run.
    """
    condition = status.condition(COMPLETE)
    if condition is None or condition.observed_generation >= inputs.run.generation:
        return False
    return isinstance(next_step(inputs.spec, history.outcomes(status)), StepId)


def _continue_run(inputs: Inputs, status: RunStatus) -> Plan:
    """Continues a finished run where it ended."""
    status = with_condition(status, inputs.at, COMPLETE, False, Reason.CONTINUED)
    decided = _decide(inputs, status.updated(completion_time=""))
    message = f"the spec of generation {inputs.run.generation} lets the finished run continue"
    return replace(decided, events=(RunEvent("Normal", Reason.CONTINUED, message), *decided.events))


def _retry(inputs: Inputs, status: RunStatus, *conditions: str) -> RunStatus:
    """Continues the step with its next attempt and fresh limits, because `spec.retry` was raised (rule C17)."""
    status = status.updated(retry=inputs.spec.retry, completion_time="")
    for kind in conditions:
        status = with_condition(status, inputs.at, kind, False, Reason.RETRIED)
    return attempt.next_attempt(inputs, status) if status.current_step else status


# --- held runs


def _still_held(inputs: Inputs, status: RunStatus) -> bool:
    """Returns whether the run still waits for what it was held for; a raised `spec.retry` ends every hold."""
    if inputs.spec.retry > status.retry:
        return False
    condition = status.condition(SUSPENDED)
    match condition.reason if condition else "":
        case Reason.SUSPENDED_BY_USER:
            return False  # spec.suspend was checked before
        case Reason.AWAITING_APPROVAL:
            following = next_step(inputs.spec, history.outcomes(status))
            return isinstance(following, StepId) and awaits_approval(inputs.spec, following)
        case Reason.BUDGET_EXCEEDED:
            unchanged = condition is not None and condition.observed_generation >= inputs.run.generation
            return unchanged or (status.current_step is not None and budget.forbids(inputs, status) is not None)
        case _:
            return True


def _release(inputs: Inputs, status: RunStatus) -> RunStatus:
    """Ends a hold, because `spec.retry` was raised or the reason for the hold is gone."""
    if inputs.spec.retry > status.retry:
        return _retry(inputs, status, SUSPENDED)
    return with_condition(status, inputs.at, SUSPENDED, False, Reason.RESUMED)


def _suspend(inputs: Inputs, status: RunStatus) -> Plan:
    """Deletes the Job in progress; sets Suspended only when no pod is left running (rule C7)."""
    if status.is_true(SUSPENDED):
        return Plan(status, delete=live_jobs(inputs.seen))
    stopped = _stop_job(inputs, status, Reason.SUSPENDING)
    if isinstance(stopped, Plan):
        return stopped
    message = "spec.suspend is true; set it to false to resume"
    status = with_condition(stopped.status, inputs.at, SUSPENDED, True, Reason.SUSPENDED_BY_USER, message)
    status = with_progress(status, inputs.at, Reason.SUSPENDED_BY_USER, message, value=False)
    return Plan(status, events=(*stopped.events, RunEvent("Normal", "Suspended", "no Job is left running")))


def _stop_for_budget(inputs: Inputs, status: RunStatus) -> Plan:
    """Deletes the Job of a step that reached the budget while it held GPUs, then holds or ends the run."""
    message = status.step.message

    def end(stopped: RunStatus) -> Plan:
        return attempt.end_over_budget(inputs, stopped, message)

    return _stop_then(inputs, status, Reason.BUDGET_EXCEEDED, end)


def _replace_job(inputs: Inputs, status: RunStatus) -> Plan:
    """Deletes a Job that was made from settings of the past, then creates that of the next attempt; no retry counts."""
    replaced = status.step
    kept = {"kind": replaced.kind, "disruptions": replaced.disruptions, "message": replaced.message}

    def create(stopped: RunStatus) -> Plan:
        return attempt.create_job(inputs, stopped.with_step(**kept), at_once=True)

    return _stop_then(inputs, status, Reason.REPLACING, create)


def _stop_then(inputs: Inputs, status: RunStatus, reason: Reason, follow: Callable[[RunStatus], Plan]) -> Plan:
    """Stops the Job in progress, and follows once no pod of it is left, with the step's next attempt in the status."""
    stopped = _stop_job(inputs, status, reason)
    if isinstance(stopped, Plan):
        return stopped
    if stopped.status.current_step is None:  # the step succeeded at the last moment
        return replace(_begin_next(inputs, stopped.status), events=stopped.events)
    return follow(stopped.status)


@dataclass(frozen=True)
class _Stopped:
    """No pod of the run is left running; the step that was in progress has its next attempt, or is recorded."""

    status: RunStatus
    events: tuple[RunEvent, ...] = ()


def _stop_job(inputs: Inputs, status: RunStatus, reason: Reason) -> Plan | _Stopped:
    """Deletes the Job in progress, and waits for its pods to save their work and stop."""
    job = inputs.job(status)
    if job and attempt.has_ended(inputs, status, job):
        judged = attempt.judge_ended(inputs, status, job)
        if isinstance(judged, Plan):  # it failed: the next attempt is persisted now, and created when the run resumes
            return replace(_delete_outlived_jobs(inputs, judged), create=None)
        again = _stop_job(inputs, judged.status, reason)
        return again if isinstance(again, Plan) else replace(again, events=(judged.event,))
    busy = inputs.busy_pods()
    if job or busy:
        names = ", ".join(pod.name for pod in busy) or (job.name if job else "")
        held = f"; only the finalizer {job.held_by} keeps Job {job.name}" if job and job.held_by and not busy else ""
        status = with_progress(status, inputs.at, reason, f"waiting for {names} to stop{held}", value=False)
        return Plan(status, delete=live_jobs(inputs.seen))
    if status.current_step and status.step.job_uid:
        status = attempt.close_interval(inputs, status, [])
        retries = status.step.retries
        status = attempt.next_attempt(inputs, status).with_step(retries=retries)
    return _Stopped(status.updated(active_since=""))
