"""One attempt of one step: create its Job, watch it, and judge how it ended. Pure.

`decide/plan.py` asks what comes next in a run; this module knows what comes next in a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from llm2llm.errors import ExitCode
from llm2llm.loop.outcomes import StepId, StepResult, describe_iteration
from llm2llm.loop.stages import STAGES
from llm2llm.loop.steps import ending_step, parents
from llm2llm.loop.stopping import best_iteration, objective_metric
from llm2llm.records import Kind, Report, Stage
from llm2llm_operator.build.job import block_of, job_manifest, job_name
from llm2llm_operator.constants import STOPPING
from llm2llm_operator.decide import history as st
from llm2llm_operator.decide import usage as accounts
from llm2llm_operator.decide.inputs import Inputs, Plan, RunEvent, earliest, progress, with_condition
from llm2llm_operator.decide.policies import budget, deadlines, retry, waiting
from llm2llm_operator.decide.policies.cleanup import obsolete_jobs
from llm2llm_operator.model.observation import Job, Pod
from llm2llm_operator.model.status import CurrentStep, RunStatus, StepRecord


@dataclass(frozen=True)
class Recorded:
    """A step ended well and is in the ledger; the run goes on from this status."""

    status: RunStatus
    note: RunEvent


def first_attempt(facts: Inputs, status: RunStatus, step: StepId) -> CurrentStep:
    """The first attempt of a step; of one that the run ended without earlier, the one after those."""
    attempt = st.attempts_of(status, step)
    return CurrentStep(
        stage=step.stage.value,
        iteration=step.iteration,
        attempt=attempt,
        micro_batch=st.micro_batch_ceiling(status) if step.stage is Stage.TRAIN else 0,
        job_name=job_name(facts.run.name, facts.run.uid, step, attempt),
        since=st.timestamp(facts.now),
    )


def next_attempt(facts: Inputs, current: CurrentStep) -> CurrentStep:
    """The attempt after this one, with fresh limits; what the step's containers ran so far stays."""
    step = StepId(Stage(current.stage), current.iteration)
    return CurrentStep(
        stage=current.stage,
        iteration=current.iteration,
        attempt=current.attempt + 1,
        micro_batch=current.micro_batch,
        job_name=job_name(facts.run.name, facts.run.uid, step, current.attempt + 1),
        since=st.timestamp(facts.now),
        active_seconds=current.active_seconds,
        teacher_usage=current.teacher_usage,
    )


def create_job(facts: Inputs, status: RunStatus, current: CurrentStep, notes: tuple[RunEvent, ...] = ()) -> Plan:
    """Persists the attempt and creates its Job: within the budget, after its back-off, when nothing else runs."""
    name = describe_attempt(current)
    over = budget.reached(facts.spec, status, current)
    if over:
        return over_budget(facts, status, current, over)
    pause = retry.backoff_seconds(current, facts.backoff_base)
    left = pause - facts.seconds_since(current.since)
    outside = current.stage == Stage.TEST or StepId(Stage.TRAIN, current.iteration).closing
    iteration = status.current_iteration if outside else current.iteration
    status = status.model_copy(update={"current_iteration": iteration, "active_since": ""})
    if left > 0:
        current = current.model_copy(update={"state": "BackingOff"})
        status = status.model_copy(update={"current_step": current})
        message = f"{name}: attempt {current.attempt} follows in {pause:.0f} s; {current.message}"
        return Plan(progress(facts, status, "BackingOff", message, value=False), notes=notes, wake_after=left)
    current = current.model_copy(update={"state": "Pending"})
    status = status.model_copy(update={"current_step": current})
    busy = [pod for pod in facts.seen.pods if pod.phase in ("Pending", "Running")]
    if busy:
        return wait_for_pods(facts, status, busy, notes)
    status = progress(facts, status, STAGES[Stage(current.stage)].verb, name, value=True)
    step = StepId(Stage(current.stage), current.iteration)
    try:
        body = job_manifest(
            facts.run,
            facts.spec,
            current,
            parents(facts.spec, step, st.outcomes(status)),
            status.images,
            gpu_seconds=status.usage.gpu_seconds,
        )
    except ValueError as error:
        return fail_run(facts, status, current, "InvalidSpec", str(error))
    return Plan(status, create=body, delete=obsolete_jobs(facts.run, status, facts.seen), notes=notes)


def wait_for_pods(facts: Inputs, status: RunStatus, busy: list[Pod], notes: tuple[RunEvent, ...] = ()) -> Plan:
    """One pod of a run at a time (rule C7): waits for these to stop, and deletes their Jobs if nobody has."""
    names = ", ".join(pod.name for pod in busy)
    uids = {pod.job_uid for pod in busy}
    alive = tuple(job for job in facts.seen.jobs if job.uid in uids and not job.deleting and not job.ended)
    status = progress(facts, status, "PodStuckTerminating", f"waiting for pod {names} to stop", value=False)
    return Plan(status, delete=alive, notes=notes)


def judge_missing(facts: Inputs, status: RunStatus, current: CurrentStep) -> Plan:
    """The attempt has no Job in the cache: not created yet, or deleted by somebody."""
    if not current.job_uid:
        return create_job(facts, status, current)
    if current.job_name not in facts.confirmed_deleted:
        return Plan(status, confirm_deleted=current.job_name)
    status, current = close_interval(facts, status, current, [])
    return _follow(
        facts, status, current, retry.after_failure(retry.Ending(job_vanished=True), current, facts.spec.retries)
    )


def judge_running(facts: Inputs, status: RunStatus, current: CurrentStep, job: Job) -> Plan:
    """The Job lives: tell that it runs, or why it does not, and hold it to its deadlines."""
    pods = facts.seen.pods_of(job)
    running = next((pod for pod in pods if pod.started and not pod.finished), None)
    reason = waiting.waiting_reason(job, pods, facts.events, facts.now)
    current = current.model_copy(update={"disruptions": max(current.disruptions, sum(pod.disrupted for pod in pods))})
    if running and running.started and current.state != "Running":
        moment = st.timestamp(running.started)
        current = current.model_copy(update={"state": "Running", "since": moment, "job_uid": job.uid})
    elif reason and not running:
        current = _in_state(facts, current, "Queued" if job.suspended else "Pending", job)
    since = st.timestamp(running.started) if running and running.started else ""
    if _is_ending(pods):
        since = status.active_since
    elif status.active_since and since != status.active_since:  # its pod was evicted: the Job runs another one
        before = [pod for pod in pods if pod is not running]
        status, current = close_interval(facts, status, current, before)
    status = status.model_copy(update={"current_step": current, "active_since": since})
    ended = _must_end(facts, status, current, pods, reason)
    if isinstance(ended, retry.GiveUp):
        status, spent = close_interval(facts, status, current.model_copy(update={"job_uid": job.uid}), pods)
        failed = fail_run(facts, status, spent, ended.reason, _name_remaining_pods(ended.message, pods))
        return replace(failed, delete=(job,) if not job.deleting else ())
    if isinstance(ended, budget.Over):
        stopping = current.model_copy(update={"state": STOPPING, "message": ended.message, "job_uid": job.uid})
        status = status.model_copy(update={"current_step": stopping})
        status = progress(facts, status, "BudgetExceeded", f"{describe_attempt(current)}: {ended.message}", value=False)
        return Plan(status, delete=(job,) if not job.deleting else ())
    if reason:
        status = progress(facts, status, reason.reason, f"{describe_attempt(current)}: {reason.message}", value=False)
    elif running:
        status = progress(facts, status, STAGES[Stage(current.stage)].verb, describe_attempt(current), value=True)
    silent = not running and not job.suspended and (reason is None or bool(facts.events))
    pause = _until_events(facts, current) if silent else None
    return Plan(status, delete=obsolete_jobs(facts.run, status, facts.seen), wake_after=earliest(ended.seconds, pause))


def judge_ended(facts: Inputs, status: RunStatus, current: CurrentStep, job: Job) -> Recorded | Plan:
    """The Job has its terminal condition: record its result, or ask what follows its failure."""
    pods = facts.seen.pods_of(job)
    last = next((pod for pod in reversed(pods) if pod.exit_code is not None), None)
    report = _report(facts, current, last)
    status, current = close_interval(facts, status, current.model_copy(update={"job_uid": job.uid}), pods)
    if report is not None:
        status, current = accounts.with_teacher_usage(status, current, report.usage)
    if job.complete and report is not None and report.exit_code == 0:
        status = st.record_success(status, current, report, _record(current, last), facts.spec)
        status = status.model_copy(update={"current_step": None})
        note = RunEvent(
            "Normal", f"{current.stage}Succeeded", f"{describe_attempt(current)}: {_describe_result(report)}"
        )
        return Recorded(status, note)
    if job.complete:
        return _follow(facts, status, current, retry.lost_report(current, facts.spec.retries))
    ending = retry.Ending(
        exit_code=last.exit_code if last else None,
        report=report,
        message=(last.message if last and report is None else "") or job.failure_message,
        pod_reason=last.terminated_reason if last else "",
    )
    return _follow(facts, status, current, retry.after_failure(ending, current, facts.spec.retries))


def fail_run(facts: Inputs, status: RunStatus, current: CurrentStep, reason: str, message: str) -> Plan:
    """Ends the run with Failed, at this step."""
    told = f"{describe_attempt(current)}: {message}"
    current = current.model_copy(update={"message": message[:1024]})
    status = status.model_copy(update={"current_step": current, "active_since": ""})
    status = st.failed(status, reason, told, now=facts.now, generation=facts.run.generation)
    return Plan(status, notes=(RunEvent("Warning", reason, told),))


def describe_attempt(current: CurrentStep) -> str:
    """What people call this attempt."""
    name = current.stage
    if current.stage != Stage.PREPARE:
        name += f" of {describe_iteration(current.iteration)}"
    if current.kind == Kind.COLLECT:
        name += " (collect)"
    return f"{name}, attempt {current.attempt}" if current.attempt else name


def _follow(
    facts: Inputs, status: RunStatus, current: CurrentStep, verdict: retry.Again | retry.Hold | retry.GiveUp
) -> Plan:
    """Begins the next attempt of a step, holds the run, or fails it."""
    if isinstance(verdict, retry.GiveUp):
        return fail_run(facts, status, current, verdict.reason, verdict.message)
    if isinstance(verdict, retry.Hold) and verdict.reason == budget.REASON:
        return over_budget(facts, status, next_attempt(facts, current), verdict.message)
    if isinstance(verdict, retry.Hold):
        status = status.model_copy(update={"current_step": current, "active_since": ""})
        return hold_run(facts, status, verdict.reason, f"{describe_attempt(current)}: {verdict.message}")
    then = next_attempt(facts, current).model_copy(
        update={
            "kind": verdict.kind.value,
            "micro_batch": verdict.micro_batch,
            "retries": verdict.retries,
            "disruptions": current.disruptions,
            "message": verdict.message[:1024],
        }
    )
    return create_job(
        facts,
        status,
        then,
        (RunEvent("Warning", f"{then.stage}Retried", f"{describe_attempt(then)}: {verdict.message}"),),
    )


def over_budget(facts: Inputs, status: RunStatus, current: CurrentStep, message: str) -> Plan:
    """The budget does not allow this attempt: hold the run, end it with what there is, or fail it, as the user wants.

    Args:
        current: the attempt that may not begin; it is the one that follows once the budget was raised.
    """
    policy = facts.spec.budget.on_exceeded
    status = status.model_copy(update={"active_since": ""})
    if policy == "Complete" and best_iteration(facts.spec, st.outcomes(status), ended=True):
        if current.attempt > st.attempts_of(status, StepId(Stage(current.stage), current.iteration)):
            status = st.record_stop(status, current, budget.REASON)
        refused = StepId(Stage(current.stage), current.iteration)
        last = ending_step(facts.spec, st.outcomes(status), refused)
        if last is None or last.stage is Stage.TEST:
            status = st.with_best(status, facts.spec, ended=True)
        if last is not None:
            return create_job(facts, status, first_attempt(facts, status, last))
        return complete_run(
            facts, status, budget.REASON, f"{describe_attempt(current)} would go beyond the budget: {message}"
        )
    if policy == "Suspend":
        status = status.model_copy(update={"current_step": current})
        told = f"{describe_attempt(current)}: {message}; raise the budget to go on, nothing is paid for twice"
        return hold_run(facts, status, budget.REASON, told)
    return fail_run(facts, status, current, budget.REASON, f"{message}. Raise the budget, then spec.retry")


def complete_run(facts: Inputs, status: RunStatus, reason: str, message: str) -> Plan:
    """The run has what it wanted; what is left of its Jobs goes, but for the newest."""
    status = st.complete(status, reason, message, now=facts.now, generation=facts.run.generation)
    return Plan(
        status, delete=obsolete_jobs(facts.run, status, facts.seen), notes=(RunEvent("Normal", reason, message),)
    )


def hold_run(facts: Inputs, status: RunStatus, reason: str, message: str) -> Plan:
    """The run waits for a person: Suspended with a reason, nothing running, nothing lost."""
    status = with_condition(facts, status, "Suspended", True, reason, message)
    status = progress(facts, status, reason, message, value=False)
    return Plan(status, notes=(RunEvent("Warning", reason, message),))


def _is_ending(pods: list[Pod]) -> bool:
    """The last pod ended the Job, which says so within seconds: result and times are then one write."""
    last = pods[-1] if pods else None
    return last is not None and last.exit_code not in (None, ExitCode.TERMINATED) and not last.disrupted


def _must_end(
    facts: Inputs, status: RunStatus, current: CurrentStep, pods: list[Pod], reason: waiting.Waiting | None
) -> retry.GiveUp | budget.Over | deadlines.Left:
    """Whether the attempt in progress has to end now, and with which reason."""
    if current.disruptions > facts.spec.max_disruptions:
        told = f"{current.disruptions} pods were evicted or preempted: raise spec.maxDisruptions, then spec.retry"
        return retry.GiveUp("TooManyDisruptions", told)
    if reason and reason.hopeless:
        return retry.GiveUp(reason.reason, f"{reason.message}. Correct the image, then raise spec.retry")
    verdict = deadlines.check(facts.spec, block_of(facts.spec, current), status, current, pods, facts.now)
    if isinstance(verdict, deadlines.Exceeded):
        return retry.GiveUp(verdict.reason, f"{verdict.message}. Raise the deadline, then spec.retry")
    allowed = budget.check(facts.spec, status, current, pods, facts.now)
    if isinstance(allowed, budget.Over):
        return allowed
    return deadlines.Left(earliest(verdict.seconds, allowed.seconds))


def _name_remaining_pods(message: str, pods: list[Pod]) -> str:
    """A deadline does not wait for the pod to stop, and says so."""
    left = [pod.name for pod in pods if pod.phase in ("Pending", "Running")]
    return f"{message} (pod {', '.join(left)} is told to stop)" if left else message


def _until_events(facts: Inputs, current: CurrentStep) -> float:
    """When to look at the Job's events: after a while, and then now and again."""
    waited = facts.seconds_since(current.since)
    if waited < waiting.LOOK_AT_EVENTS_SECONDS:
        return waiting.LOOK_AT_EVENTS_SECONDS - waited + 1
    return waiting.LOOK_AT_EVENTS_SECONDS


def _in_state(facts: Inputs, current: CurrentStep, state: str, job: Job) -> CurrentStep:
    since = current.since if current.state == state else st.timestamp(facts.now)
    return current.model_copy(update={"state": state, "since": since, "job_uid": job.uid})


def close_interval(
    facts: Inputs, status: RunStatus, current: CurrentStep, pods: list[Pod]
) -> tuple[RunStatus, CurrentStep]:
    """Closes the interval: what the pods of an attempt ran goes into the accounts of run, step and GPUs.

    Where no pod is left to tell (it was deleted), its container counts as running from `activeSince` until now.
    """
    seconds = deadlines.closed_seconds(pods, current.counted_until) + (deadlines.open_seconds(pods, facts.now) or 0.0)
    seen = any(pod.started and st.timestamp(pod.started) == status.active_since for pod in pods)
    if status.active_since and not seen:
        seconds += facts.seconds_since(status.active_since)
    ends = [pod.finished for pod in pods if pod.finished]
    until = st.timestamp(max(ends)) if ends else current.counted_until
    current = current.model_copy(update={"counted_until": max(until, current.counted_until)})
    return accounts.with_active(status, current, seconds, block_of(facts.spec, current).gpus)


def _report(facts: Inputs, current: CurrentStep, pod: Pod | None) -> Report | None:
    """The report in a termination message, if it is one and is about this very step."""
    if pod is None or not pod.message:
        return None
    try:
        report = Report.model_validate_json(pod.message)
    except ValidationError:
        return None
    told = (report.run_uid, report.stage.value, report.iteration)
    if told != (facts.run.uid, current.stage, current.iteration):
        return None
    return report if report.exit_code or _has_score(report) else None


def _has_score(report: Report) -> bool:
    """An evaluation without the score that the loop decides by is no result, nor a test without its own."""
    if report.stage is Stage.TEST:
        return any(metric.dataset == "test" for metric in report.metrics)
    try:
        return report.stage is not Stage.EVALUATE or bool(objective_metric(StepResult.of(report)))
    except ValueError:
        return False


def _record(current: CurrentStep, pod: Pod | None) -> StepRecord:
    def told(moment: datetime | None) -> str:
        return st.timestamp(moment) if moment else ""

    return StepRecord(
        stage=current.stage,
        attempt=current.attempt,
        kind=current.kind,
        job_uid=current.job_uid,
        outcome="Succeeded",
        start_time=told(pod.started if pod else None),
        completion_time=told(pod.finished if pod else None),
        active_seconds=current.active_seconds,
        micro_batch=current.micro_batch,
    )


def _describe_result(report: Report) -> str:
    match report.stage:
        case Stage.PREPARE:
            return _with_message("inputs are frozen", report)
        case Stage.TRAIN:
            return _with_message(f"{report.train_examples} examples, {report.optimizer_steps} optimizer steps", report)
        case Stage.EVALUATE:
            return f"{_scores(report)}; {report.mistakes} mistakes"
        case Stage.GENERATE:
            return f"{report.kept} of {report.generated} rows kept"
        case Stage.TEST:
            return _scores(report)


def _with_message(result: str, report: Report) -> str:
    return f"{result}; {report.message}" if report.message else result


def _scores(report: Report) -> str:
    return ", ".join(f"{m.name} {m.value:.3f} on {m.examples} {m.dataset} rows" for m in report.metrics)
