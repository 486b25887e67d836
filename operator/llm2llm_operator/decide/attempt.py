"""Creates the Job of one attempt of a step, follows it, and judges how it ended. Pure.

`plan.py` decides what comes next in a run; this module decides what comes next in a step. `create_job` begins an
attempt, `judge_missing`, `judge_running` and `judge_ended` look at its Job in each later pass, and a failure leads to
another attempt, a hold, or the end of the run. The attempt in progress is `status.step`, and every function takes the
inputs and the status.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llm2llm.errors import ExitCode
from llm2llm.loop.outcomes import StepId, describe_iteration
from llm2llm.loop.stages import STAGES
from llm2llm.loop.steps import ending_step, parents
from llm2llm.loop.stopping import best_iteration
from llm2llm.plaintext import plain
from llm2llm.records import Stage
from llm2llm_operator.build.event import RunEvent
from llm2llm_operator.build.job import block_of, job_manifest, job_name
from llm2llm_operator.build.settings import settings_of
from llm2llm_operator.constants import BACKING_OFF, PROGRESSING, REPLACING, STOPPING, SUSPENDED
from llm2llm_operator.decide import history
from llm2llm_operator.decide.actions import Plan, earliest
from llm2llm_operator.decide.conditions import timestamp, with_completion, with_condition, with_failure, with_progress
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies import budget, deadlines, disruptions, edits, retry, waiting
from llm2llm_operator.decide.policies.cleanup import obsolete_jobs
from llm2llm_operator.decide.policies.clock import closed_seconds, open_seconds
from llm2llm_operator.decide.policies.verdicts import Again, AttemptEnd, GiveUp, Hold
from llm2llm_operator.decide.result import describe_result, ending_of, read_report, success_record
from llm2llm_operator.decide.usage import with_active_seconds, with_teacher_usage
from llm2llm_operator.model.observation import Job, Pod
from llm2llm_operator.model.status import STEP_MESSAGE_LIMIT, CurrentStep, RunStatus
from llm2llm_operator.reasons import Reason


@dataclass(frozen=True)
class Recorded:
    """A step succeeded and is in the ledger; the run continues from this status."""

    status: RunStatus
    event: RunEvent


def first_attempt(inputs: Inputs, status: RunStatus, step: StepId) -> RunStatus:
    """Returns the status with the first attempt of a step.

    If the run ended earlier without finishing the step, attempts are counted on from there.
    """
    attempt = history.attempts_of(status, step)
    return status.updated(
        current_step=CurrentStep(
            stage=step.stage.value,
            iteration=step.iteration,
            attempt=attempt,
            micro_batch=history.micro_batch_ceiling(status) if step.stage is Stage.TRAIN else 0,
            job_name=job_name(inputs.run.name, inputs.run.uid, step, attempt),
            since=timestamp(inputs.now),
        )
    )


def next_attempt(inputs: Inputs, status: RunStatus) -> RunStatus:
    """Returns the status with the next attempt of the step, with fresh limits; its active time so far is kept."""
    step = status.step
    return status.updated(
        current_step=CurrentStep(
            stage=step.stage,
            iteration=step.iteration,
            attempt=step.attempt + 1,
            micro_batch=step.micro_batch,
            job_name=job_name(inputs.run.name, inputs.run.uid, step.id, step.attempt + 1),
            since=timestamp(inputs.now),
            active_seconds=step.active_seconds,
            requeues=step.requeues,
            teacher_usage=step.teacher_usage,
        )
    )


def create_job(inputs: Inputs, status: RunStatus, events: tuple[RunEvent, ...] = (), *, at_once: bool = False) -> Plan:
    """Persists the attempt and creates its Job if the budget allows it, its back-off is over (or `at_once`), and no
    other pod runs.
    """
    over = budget.forbids(inputs, status)
    if over:
        return end_over_budget(inputs, status, over.message)
    step, name = status.step, describe_attempt(status)
    status = status.updated(current_iteration=_shown_iteration(status), active_since="")
    pause = 0.0 if at_once else retry.backoff_seconds(inputs, status)
    remaining = pause - inputs.seconds_since(step.since)
    if remaining > 0:
        message = f"{name}: attempt {step.attempt} starts in {pause:.0f} s; {step.message}"
        status = status.with_step(state=BACKING_OFF)
        status = with_progress(status, inputs.at, Reason.BACKING_OFF, message, value=False)
        return Plan(status, events=events, wake_after=remaining)
    status = status.with_step(state="Pending")
    busy = inputs.busy_pods()
    if busy:
        return wait_for_pods(inputs, status, busy, events)
    status = with_progress(status, inputs.at, STAGES[step.id.stage].verb, name, value=True)
    try:
        body = job_manifest(
            inputs.run,
            inputs.spec,
            status.step,
            parents(inputs.spec, step.id, history.outcomes(status)),
            status.images,
            gpu_seconds=status.usage.gpu_seconds,
            settings=settings_of(inputs.run.generation, inputs.spec, status.step, status.images),
            defaults=inputs.pod_defaults,
        )
    except ValueError as error:
        return fail_run(inputs, status, Reason.INVALID_SPEC, str(error))
    return Plan(status, create=body, delete=obsolete_jobs(inputs, status), events=events)


def wait_for_pods(inputs: Inputs, status: RunStatus, busy: list[Pod], events: tuple[RunEvent, ...] = ()) -> Plan:
    """Waits for the pods of other attempts to stop, and deletes their Jobs: a run has one pod at a time (rule C7)."""
    names = ", ".join(pod.name for pod in busy)
    uids = {pod.job_uid for pod in busy}
    alive = tuple(job for job in inputs.seen.jobs if job.uid in uids and not job.deleting and not job.ended)
    message = f"waiting for pod {names} to stop"
    beside = ", ".join(pod.beside for pod in busy if pod.beside)
    message += f": the step in it has ended, but container {beside} runs on" if beside else ""
    status = with_progress(status, inputs.at, Reason.POD_STUCK_TERMINATING, message, value=False)
    return Plan(status, delete=alive, events=events)


def judge_missing(inputs: Inputs, status: RunStatus) -> Plan:
    """Handles an attempt without a Job in the cache: it was not created yet, or someone deleted it."""
    if not status.step.job_uid:
        return create_job(inputs, status)
    if status.step.job_name not in inputs.confirmed_deleted:
        return Plan(status, confirm_deleted=status.step.job_name)
    status = close_interval(inputs, status, [])
    return _follow(inputs, status, retry.after_failure(inputs, status, AttemptEnd(job_vanished=True)))


def judge_running(inputs: Inputs, status: RunStatus, job: Job) -> Plan:
    """Handles a Job that has not ended: reports its progress or why it waits, and enforces its limits."""
    before = status.step
    status = _with_observation(inputs, status, job)
    replacement = edits.replacement_reason(inputs, status, job)
    if replacement:
        status = status.with_step(state=REPLACING, job_uid=job.uid)
        message = f"{describe_attempt(status)}: {replacement.message}"
        status = with_progress(status, inputs.at, replacement.reason, message, value=False)
        return Plan(status, delete=() if job.deleting else (job,))
    given_up = (
        disruptions.exceeded(inputs, status) or waiting.hopeless(inputs, status) or deadlines.exceeded(inputs, status)
    )
    delete = (job,) if not job.deleting else ()
    if given_up:
        pods = inputs.pods(status)
        status = close_interval(inputs, status.with_step(job_uid=job.uid), pods)
        failed = fail_run(inputs, status, given_up.reason, _name_remaining_pods(given_up.message, pods))
        return replace(failed, delete=delete)
    over = budget.exceeded(inputs, status)
    if over:
        status = status.with_step(state=STOPPING, message=over.message, job_uid=job.uid)
        message = f"{describe_attempt(status)}: {over.message}"
        return Plan(with_progress(status, inputs.at, Reason.BUDGET_EXCEEDED, message, value=False), delete=delete)
    reason, running = waiting.waiting_reason(inputs, status), _running_pod(inputs.pods(status))
    if reason:
        message = f"{describe_attempt(status)}: {reason.message}"
        status = with_progress(status, inputs.at, reason.reason, message, value=False)
    elif running or _waits_no_longer(status):
        words = describe_attempt(status)
        words += f"; {edits.APPLIES_LATER}" if edits.outdated(inputs, status, job) else ""
        status = with_progress(status, inputs.at, STAGES[status.step.id.stage].verb, words, value=True)
    silent = not running and waiting.only_news_can_tell(inputs, job, inputs.pods(status))
    wake_after = earliest(
        deadlines.seconds_left(inputs, status),
        budget.seconds_left(inputs, status),
        waiting.seconds_left(inputs, status),
        _seconds_until_news(inputs, status) if silent else None,
    )
    events = _interruption_events(inputs, status, before)
    return Plan(status, delete=obsolete_jobs(inputs, status), events=events, wake_after=wake_after)


def has_ended(inputs: Inputs, status: RunStatus, job: Job) -> bool:
    """Returns whether the attempt has ended: its Job has, or its step has in a pod that other containers keep alive.

    Such a Job never ends by itself; it has to be deleted once the result is recorded.
    """
    pods = inputs.pods(status)
    return job.ended or (bool(pods) and pods[-1].outlived)


def judge_ended(inputs: Inputs, status: RunStatus, job: Job) -> Recorded | Plan:
    """Handles an attempt that has ended: records its result, or decides what follows its failure.

    The step's own container counts: a container beside it that fails makes a Job fail whose step has succeeded.
    """
    pods = inputs.pods(status)
    last_pod = next((pod for pod in reversed(pods) if pod.step_ended), None)
    succeeded = job.complete or (last_pod is not None and last_pod.exit_code == ExitCode.DONE)
    report = read_report(inputs, status, last_pod)
    status = close_interval(inputs, status.with_step(job_uid=job.uid), pods)
    if report is not None:
        status = with_teacher_usage(status, report.usage)
    if succeeded and report is not None and report.exit_code == ExitCode.DONE:
        message = f"{describe_attempt(status)}: {describe_result(report)}"
        if last_pod is not None and last_pod.beside and not job.ended:
            message += f"; its Job is deleted, because container {last_pod.beside} runs on"
        event = RunEvent("Normal", f"{status.step.stage}Succeeded", message)
        status = history.record_success(status, report, success_record(status, last_pod), inputs.spec)
        return Recorded(status.updated(current_step=None), event)
    if succeeded:
        return _follow(inputs, status, retry.after_lost_report(inputs, status))
    return _follow(inputs, status, retry.after_failure(inputs, status, ending_of(job, last_pod, report)))


def fail_run(inputs: Inputs, status: RunStatus, reason: str, message: str) -> Plan:
    """Ends the run with Failed, at the step in progress."""
    words = f"{describe_attempt(status)}: {message}"
    status = status.with_step(message=plain(message)[:STEP_MESSAGE_LIMIT]).updated(active_since="")
    status = with_failure(status, inputs.at, reason, words)
    return Plan(status, events=(RunEvent("Warning", reason, words),))


def end_over_budget(inputs: Inputs, status: RunStatus, message: str) -> Plan:
    """Holds the run, completes it with its best iteration, or fails it: the budget forbids the attempt (`onExceeded`).

    The attempt in `status.step` is the one that begins once the budget has been raised.
    """
    policy, name = inputs.spec.budget.on_exceeded, describe_attempt(status)
    status = status.updated(active_since="")
    if policy == "Complete" and best_iteration(inputs.spec, history.outcomes(status), ended=True):
        return _end_with_best(inputs, status, f"{name} would exceed the budget: {message}")
    if policy == "Suspend":
        words = f"{name}: {message}; raise the budget to resume, nothing is paid for twice"
        return hold_run(inputs, status, Reason.BUDGET_EXCEEDED, words)
    return fail_run(inputs, status, Reason.BUDGET_EXCEEDED, f"{message}. Raise the budget, then spec.retry")


def complete_run(inputs: Inputs, status: RunStatus, reason: str, message: str) -> Plan:
    """Ends the run with Complete, and deletes its Jobs except the newest."""
    status = with_completion(status, inputs.at, reason, message)
    return Plan(status, delete=obsolete_jobs(inputs, status), events=(RunEvent("Normal", reason, message),))


def hold_run(inputs: Inputs, status: RunStatus, reason: str, message: str) -> Plan:
    """Suspends the run, with a reason, until a person acts; nothing is running and nothing is lost."""
    status = with_condition(status, inputs.at, SUSPENDED, True, reason, message)
    status = with_progress(status, inputs.at, reason, message, value=False)
    return Plan(status, events=(RunEvent("Warning", reason, message),))


def close_interval(inputs: Inputs, status: RunStatus, pods: list[Pod]) -> RunStatus:
    """Adds the time that the pods of an attempt ran to the usage of run, step and GPUs.

    If no pod is left to show it (it was deleted), its container counts as running from `activeSince` until now.
    """
    step = status.step
    seconds = closed_seconds(pods, step.counted_until) + (open_seconds(pods, inputs.now) or 0.0)
    seen = any(pod.started and timestamp(pod.started) == status.active_since for pod in pods)
    if status.active_since and not seen:
        seconds += inputs.seconds_since(status.active_since)
    ends = [pod.finished for pod in pods if pod.finished]
    until = timestamp(max(ends)) if ends else step.counted_until
    status = status.with_step(counted_until=max(until, step.counted_until))
    return with_active_seconds(status, seconds, block_of(inputs.spec, status.step).gpus)


def describe_attempt(status: RunStatus) -> str:
    """Returns the name of the attempt in progress, for messages."""
    step = status.step
    name = step.stage if STAGES[step.id.stage].once else f"{step.stage} of {describe_iteration(step.iteration)}"
    if step.collects:
        name += " (collect)"
    return f"{name}, attempt {step.attempt}" if step.attempt else name


def _follow(inputs: Inputs, status: RunStatus, verdict: Again | Hold | GiveUp) -> Plan:
    """Begins the next attempt of the step, holds the run, or fails it."""
    if isinstance(verdict, GiveUp):
        return fail_run(inputs, status, verdict.reason, verdict.message)
    if isinstance(verdict, Hold) and verdict.reason == Reason.BUDGET_EXCEEDED:
        return end_over_budget(inputs, next_attempt(inputs, status), verdict.message)
    if isinstance(verdict, Hold):
        words = f"{describe_attempt(status)}: {verdict.message}"
        return hold_run(inputs, status.updated(active_since=""), verdict.reason, words)
    status = next_attempt(inputs, status).with_step(
        kind=verdict.kind.value,
        micro_batch=verdict.micro_batch,
        retries=verdict.retries,
        disruptions=status.step.disruptions,
        message=plain(verdict.message)[:STEP_MESSAGE_LIMIT],
    )
    words = f"{describe_attempt(status)}: {verdict.message}"
    return create_job(inputs, status, (RunEvent("Warning", f"{status.step.stage}Retried", words),))


def _end_with_best(inputs: Inputs, status: RunStatus, message: str) -> Plan:
    """Completes a run that ends early (`onExceeded: Complete`), after the steps that it still has to do."""
    step = status.step
    if step.attempt > history.attempts_of(status, step.id):
        status = history.record_stop(status, Reason.BUDGET_EXCEEDED)
    last_step = ending_step(inputs.spec, history.outcomes(status), step.id)
    if last_step is None or last_step.stage is Stage.TEST:
        status = history.with_best(status, inputs.spec, ended=True)
    if last_step is not None:
        return create_job(inputs, first_attempt(inputs, status, last_step))
    return complete_run(inputs, status, Reason.BUDGET_EXCEEDED, message)


def _with_observation(inputs: Inputs, status: RunStatus, job: Job) -> RunStatus:
    """Returns the status with what Job and pods show: the step's state, disruptions, and the start of its container."""
    pods = inputs.pods(status)
    running = _running_pod(pods)
    step = status.step
    status = status.with_step(disruptions=max(step.disruptions, sum(pod.disrupted for pod in pods)))
    if running and running.started and step.state != "Running":
        retries = step.retries.updated(refused=None)  # only refusals in a row count
        status = status.with_step(state="Running", since=timestamp(running.started), job_uid=job.uid, retries=retries)
    elif not running and (step.state == "Queued" or waiting.waiting_reason(inputs, status)):
        state = "Queued" if job.suspended else "Pending"  # admitted: the clock of its start begins
        since = step.since if step.state == state else timestamp(inputs.now)
        requeues = step.requeues + (step.state == "Running" and job.suspended)
        status = status.with_step(state=state, since=since, job_uid=job.uid, requeues=requeues)
    since = timestamp(running.started) if running and running.started else ""
    if _is_ending(pods):
        since = status.active_since
    elif status.active_since and since != status.active_since:  # its pod was evicted, and the Job runs another one
        status = close_interval(inputs, status, [pod for pod in pods if pod is not running])
    return status.updated(active_since=since)


def _waits_no_longer(status: RunStatus) -> bool:
    """Returns whether the status still gives a reason for waiting that would be seen if it held."""
    progressing = status.condition(PROGRESSING)
    return progressing is not None and progressing.reason in waiting.SEEN_UNTIL_OVER


def _interruption_events(inputs: Inputs, status: RunStatus, before: CurrentStep) -> tuple[RunEvent, ...]:
    """Returns the Events for what has happened to the Job since `before`, in the cluster's words: a pod of it was
    disrupted, or its queue has suspended it while it ran.
    """
    stage, name = status.step.stage, describe_attempt(status)
    events = []
    if status.step.disruptions > before.disruptions:
        events += [RunEvent("Warning", f"{stage}Disrupted", f"{name}: {disruptions.last_words(inputs, status)}")]
    reason = waiting.waiting_reason(inputs, status)
    if status.step.requeues > before.requeues and reason is not None:
        events += [RunEvent("Warning", f"{stage}Requeued", f"{name}: {reason.message}")]
    return tuple(events)


def _running_pod(pods: list[Pod]) -> Pod | None:
    """Returns the pod whose container is running."""
    return next((pod for pod in pods if pod.started and not pod.finished), None)


def _is_ending(pods: list[Pod]) -> bool:
    """Returns whether the last pod has ended the Job.

    The Job's condition follows within seconds; waiting for it records result and times in one write.
    """
    last_pod = pods[-1] if pods else None
    return last_pod is not None and last_pod.exit_code not in (None, ExitCode.TERMINATED) and not last_pod.disrupted


def _shown_iteration(status: RunStatus) -> int:
    """Returns `status.currentIteration`; Test and the closing iteration leave it at the last one of the loop."""
    step = status.step
    return status.current_iteration if step.id.stage is Stage.TEST or step.id.closing else step.iteration


def _name_remaining_pods(message: str, pods: list[Pod]) -> str:
    """Adds the pods that are still being stopped to a message: a deadline does not wait for them."""
    names = [pod.name for pod in pods if pod.phase in ("Pending", "Running")]
    return f"{message} (pod {', '.join(names)} is being stopped)" if names else message


def _seconds_until_news(inputs: Inputs, status: RunStatus) -> float:
    """Returns when to read the Job's Events or Workload: LOOK_FOR_NEWS_SECONDS after it began to wait, then after
    twice the time.
    """
    waited = inputs.seconds_since(status.step.since)
    if waited < waiting.LOOK_FOR_NEWS_SECONDS:
        return waiting.LOOK_FOR_NEWS_SECONDS - waited + 1
    return min(max(waited, waiting.LOOK_FOR_NEWS_SECONDS), waiting.LOOK_AGAIN_SECONDS)
