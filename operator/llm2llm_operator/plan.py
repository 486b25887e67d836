"""What should happen next to a run: a pure function of the run, what the cluster shows and the time.

`plan` is a list of questions in the order they are asked. It never waits and never writes; `reconcile.py` carries out
what it returns: first the status, then the Job (rule 5: an attempt is persisted before its Job is created).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from llm2llm.api import AugmentationRunSpec
from llm2llm.layout import run_root
from llm2llm.loop import Finished, StepId, next_step, parents
from llm2llm.records import Kind, Report, Stage
from llm2llm_operator import status as st
from llm2llm_operator.constants import COMPLETE, FAILED, PROGRESS_REASONS, RECONCILING, STALLED, SUSPENDED
from llm2llm_operator.jobs import job_manifest, job_name
from llm2llm_operator.observe import Job, Observation, Pod
from llm2llm_operator.policies import retry, waiting
from llm2llm_operator.resource import CurrentStep, Run, RunStatus, StepRecord


@dataclass(frozen=True)
class Note:
    """An Event on the run, for people: written once, after the status that it tells of."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to write, in this order: status, create, delete, events; then look again after `wake_after` seconds."""

    status: RunStatus
    create: dict[str, Any] | None = None
    delete: tuple[Job, ...] = ()
    notes: tuple[Note, ...] = ()
    wake_after: float | None = None
    verify_gone: str = ""
    """Name of a Job that the cache does not show: it has to be read before it may count as deleted (rule 3)."""


@dataclass(frozen=True)
class Facts:
    """What a decision may depend on, gathered once."""

    run: Run
    spec: AugmentationRunSpec
    seen: Observation
    now: datetime
    images: dict[str, str]
    backoff_base: float
    gone: frozenset[str] = frozenset()
    """Names of Jobs that a read found missing."""


def plan(facts: Facts, status: RunStatus) -> Plan:
    """Decides what comes next.

    Args:
        facts: the run and what the cluster shows of it.
        status: the run's status as it is in the API.
    """
    run, now = facts.run, facts.now
    status = status.model_copy(update={"observed_generation": run.generation})
    if not status.start_time:
        uri = run_root(facts.spec, run.namespace, run.name, run.uid)
        status = st.accepted(status, facts.images, uri, now)
        status = _set(facts, status, RECONCILING, False, "Accepted", "")
        status = _set(facts, status, STALLED, False, "Accepted", "")
    if status.is_true(COMPLETE):
        return _finish(Plan(status, delete=_leftovers(facts, status)))
    if status.is_true(FAILED):
        if facts.spec.retry <= status.retry:
            return _finish(Plan(status))
        status = _cleared(facts, status)
    if facts.spec.suspend:
        return _finish(_suspend(facts, status))
    if status.is_true(SUSPENDED):
        status = _resumed(facts, status)
    return _finish(_advance(facts, status))


def invalid(run: Run, status: RunStatus, error: ValidationError, now: datetime) -> Plan:
    """The spec passed the API server's schema and cannot be read all the same: the run fails and says where."""
    problems = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    status = status.model_copy(update={"observed_generation": run.generation})
    status = st.failed(status, "InvalidSpec", problems, now=now, generation=run.generation)
    return Plan(status.model_copy(update={"phase": st.phase_of(status)}))


def _advance(facts: Facts, status: RunStatus) -> Plan:
    """The run is neither ended nor held: look at the attempt in progress, or begin the next step."""
    current = status.current_step
    if current is None:
        return _begin_next(facts, status)
    job = facts.seen.job(current.job_name)
    if job is not None and job.owner_uid != facts.run.uid:
        message = f"Job {job.name} exists and belongs to somebody else: delete it"
        return Plan(_progress(facts, status, "InternalError", message, value=False), wake_after=60)
    if job is None:
        return _without_job(facts, status, current)
    if not job.ended:
        return _in_progress(facts, status, current, job)
    return _ended(facts, status, current, job)


def _begin_next(facts: Facts, status: RunStatus) -> Plan:
    """Asks the loop what comes next, and begins its first attempt."""
    following = next_step(facts.spec, st.outcomes(status))
    if isinstance(following, Finished):
        status = st.complete(
            status, following.reason, following.message, now=facts.now, generation=facts.run.generation
        )
        return Plan(
            status, delete=_leftovers(facts, status), notes=(Note("Normal", following.reason, following.message),)
        )
    current = CurrentStep(
        stage=following.stage.value,
        iteration=following.iteration,
        job_name=job_name(facts.run.name, facts.run.uid, following, 0),
        since=st.timestamp(facts.now),
    )
    return _create(facts, status, current)


def _create(facts: Facts, status: RunStatus, current: CurrentStep, notes: tuple[Note, ...] = ()) -> Plan:
    """Persists the attempt and creates its Job, or waits for its back-off to pass."""
    name = _step_words(current)
    pause = retry.backoff_seconds(current, facts.backoff_base)
    left = pause - (facts.now - datetime.fromisoformat(current.since)).total_seconds()
    status = status.model_copy(update={"current_iteration": current.iteration})
    if 0 < left <= pause:
        current = current.model_copy(update={"state": "BackingOff"})
        status = status.model_copy(update={"current_step": current})
        message = f"{name}: attempt {current.attempt} follows in {pause:.0f} s; {current.message}"
        return Plan(_progress(facts, status, "BackingOff", message, value=False), notes=notes, wake_after=left)
    current = current.model_copy(update={"state": "Pending"})
    status = status.model_copy(update={"current_step": current})
    status = _progress(facts, status, PROGRESS_REASONS[current.stage], name, value=True)
    step = StepId(Stage(current.stage), current.iteration)
    try:
        body = job_manifest(facts.run, facts.spec, current, parents(step, st.outcomes(status)), status.images)
    except ValueError as error:
        return _fail(facts, status, current, StepRecord(stage=current.stage, attempt=current.attempt, outcome="Failed"),
                     retry.GiveUp("InvalidSpec", str(error)))  # fmt: skip
    return Plan(status, create=body, delete=_leftovers(facts, status), notes=notes)


def _without_job(facts: Facts, status: RunStatus, current: CurrentStep) -> Plan:
    """The attempt has no Job in the cache: not created yet, or deleted by somebody."""
    if not current.job_uid:
        return _create(facts, status, current)
    if current.job_name not in facts.gone:
        return Plan(status, verify_gone=current.job_name)
    verdict = retry.after(retry.Ending(job_vanished=True), current, facts.spec.retries)
    record = StepRecord(
        stage=current.stage, attempt=current.attempt, kind=current.kind, job_uid=current.job_uid, outcome="Failed"
    )
    return _follow(facts, status, current, record, verdict)


def _in_progress(facts: Facts, status: RunStatus, current: CurrentStep, job: Job) -> Plan:
    """The Job lives: tell that it runs, or why it does not."""
    pods = facts.seen.pods_of(job)
    disruptions = sum(pod.disrupted for pod in pods)
    current = current.model_copy(update={"disruptions": max(current.disruptions, disruptions)})
    if current.disruptions > facts.spec.max_disruptions:
        verdict = retry.GiveUp(
            "TooManyDisruptions",
            f"{current.disruptions} pods were evicted or preempted: raise spec.maxDisruptions and spec.retry",
        )
        plan_ = _fail(facts, status, current, _record(current, job, None, facts.now), verdict)
        return replace(plan_, delete=(*plan_.delete, job))
    running = next((pod for pod in pods if pod.started and not pod.finished), None)
    name = _step_words(current)
    if running and running.started:
        if current.state != "Running":
            current = current.model_copy(
                update={"state": "Running", "since": st.timestamp(running.started), "job_uid": job.uid}
            )
        status = status.model_copy(update={"current_step": current})
        return Plan(_progress(facts, status, PROGRESS_REASONS[current.stage], name, value=True),
                    delete=_leftovers(facts, status))  # fmt: skip
    reason = waiting.why(job, pods)
    if reason is None:
        return Plan(status.model_copy(update={"current_step": current}), delete=_leftovers(facts, status))
    current = current.model_copy(update={"job_uid": job.uid, "state": "Pending"})
    status = status.model_copy(update={"current_step": current})
    return Plan(_progress(facts, status, reason.reason, f"{name}: {reason.message}", value=False))


def _ended(facts: Facts, status: RunStatus, current: CurrentStep, job: Job) -> Plan:
    """The Job has its terminal condition: record its result, or ask what follows its failure."""
    pods = facts.seen.pods_of(job)
    last = next((pod for pod in reversed(pods) if pod.exit_code is not None), None)
    report = _report(facts, current, last)
    record = _record(current, job, last, facts.now)
    if job.complete and report is not None and report.exit_code == 0:
        status = st.record_success(status, current, report, record).model_copy(update={"current_step": None})
        note = Note("Normal", f"{current.stage}Succeeded", f"{_step_words(current)}: {_result_words(report)}")
        following = _begin_next(facts, status)
        return replace(following, notes=(note, *following.notes))
    if job.complete:
        return _follow(facts, status, current, record, retry.lost_report(current))
    ending = retry.Ending(
        exit_code=last.exit_code if last else None,
        report=report,
        message=(last.message if last and report is None else "") or job.failure_message,
        pod_reason=last.terminated_reason if last else "",
    )
    return _follow(facts, status, current, record, retry.after(ending, current, facts.spec.retries))


def _follow(
    facts: Facts, status: RunStatus, current: CurrentStep, record: StepRecord, verdict: retry.Again | retry.GiveUp
) -> Plan:
    """Begins the next attempt of a step, or fails the run."""
    if isinstance(verdict, retry.GiveUp):
        return _fail(facts, status, current, record, verdict)
    attempt = current.attempt + 1
    step = StepId(Stage(current.stage), current.iteration)
    following = current.model_copy(
        update={
            "attempt": attempt,
            "kind": verdict.kind.value,
            "micro_batch": verdict.micro_batch,
            "retries": verdict.retries,
            "message": verdict.message[:1024],
            "job_name": job_name(facts.run.name, facts.run.uid, step, attempt),
            "job_uid": "",
            "since": st.timestamp(facts.now),
        }
    )
    note = Note("Warning", f"{current.stage}Retried", f"{_step_words(following)}: {verdict.message}")
    return _create(facts, status, following, notes=(note,))


def _fail(facts: Facts, status: RunStatus, current: CurrentStep, record: StepRecord, verdict: retry.GiveUp) -> Plan:
    message = f"{_step_words(current)}: {verdict.message}"
    current = current.model_copy(
        update={"job_uid": record.job_uid or current.job_uid, "message": verdict.message[:1024]}
    )
    status = status.model_copy(update={"current_step": current})
    status = st.failed(status, verdict.reason, message, now=facts.now, generation=facts.run.generation)
    return Plan(status, notes=(Note("Warning", verdict.reason, message),))


def _cleared(facts: Facts, status: RunStatus) -> RunStatus:
    """`spec.retry` was raised: the failed step goes on with its next attempt, with fresh limits (rule 17)."""
    status = status.model_copy(update={"retry": facts.spec.retry, "completion_time": ""})
    status = _set(facts, status, FAILED, False, "Retried", "")
    status = _set(facts, status, STALLED, False, "Retried", "")
    current = status.current_step
    if current is None:
        return status
    return status.model_copy(update={"current_step": _next_attempt(facts, current)})


def _next_attempt(facts: Facts, current: CurrentStep) -> CurrentStep:
    attempt = current.attempt + 1
    step = StepId(Stage(current.stage), current.iteration)
    return CurrentStep(
        stage=current.stage,
        iteration=current.iteration,
        attempt=attempt,
        micro_batch=current.micro_batch,
        job_name=job_name(facts.run.name, facts.run.uid, step, attempt),
        since=st.timestamp(facts.now),
    )


def _suspend(facts: Facts, status: RunStatus) -> Plan:
    """Deletes the Job in progress; Suspended is set only when no pod is left running (rule 7)."""
    if status.is_true(SUSPENDED):
        return Plan(status)
    current = status.current_step
    job = facts.seen.job(current.job_name) if current else None
    if current and job and job.ended:
        return _settle(_advance(facts, status))
    left = [pod for pod in facts.seen.pods if pod.phase in ("Pending", "Running")]
    if (job and job.owner_uid == facts.run.uid) or left:
        names = ", ".join(pod.name for pod in left) or (job.name if job else "")
        status = _progress(facts, status, "Suspending", f"waiting for {names} to stop", value=False)
        return Plan(status, delete=(job,) if job and not job.deleting else ())
    if current and current.job_uid:
        current = _next_attempt(facts, current).model_copy(update={"retries": current.retries})
        status = status.model_copy(update={"current_step": current})
    status = _set(facts, status, SUSPENDED, True, "SuspendedByUser", "spec.suspend is true")
    status = _progress(facts, status, "SuspendedByUser", "spec.suspend is true; set it to false to go on", value=False)
    return Plan(status, notes=(Note("Normal", "Suspended", "no Job is left running"),))


def _settle(outcome: Plan) -> Plan:
    """While suspending: what ended is recorded, and nothing new is created."""
    return replace(outcome, create=None)


def _resumed(facts: Facts, status: RunStatus) -> RunStatus:
    return _set(facts, status, SUSPENDED, False, "Resumed", "")


def _leftovers(facts: Facts, status: RunStatus) -> tuple[Job, ...]:
    """Ended Jobs whose result is recorded and whose successor is, too (rule 4); the newest one stays for its log."""
    current = status.current_step
    keep = {current.job_name} if current else set()
    if current and current.attempt:
        step = StepId(Stage(current.stage), current.iteration)
        keep.add(job_name(facts.run.name, facts.run.uid, step, current.attempt - 1))
    keep.add(_newest_recorded(facts, status))
    return tuple(
        job
        for job in facts.seen.jobs
        if job.name not in keep and job.owner_uid == facts.run.uid and job.ended and not job.deleting
    )


def _newest_recorded(facts: Facts, status: RunStatus) -> str:
    recorded = [(0, record) for record in status.steps]
    recorded += [(row.index, record) for row in status.iterations for record in row.steps]
    if not recorded:
        return ""
    iteration, record = recorded[-1]
    return job_name(facts.run.name, facts.run.uid, StepId(Stage(record.stage), iteration), record.attempt)


def _report(facts: Facts, current: CurrentStep, pod: Pod | None) -> Report | None:
    """The report in a termination message, if it is one and is about this very step."""
    if pod is None or not pod.message:
        return None
    try:
        report = Report.model_validate_json(pod.message)
    except ValidationError:
        return None
    told = (report.run_uid, report.stage.value, report.iteration)
    return report if told == (facts.run.uid, current.stage, current.iteration) else None


def _record(current: CurrentStep, job: Job, pod: Pod | None, now: datetime) -> StepRecord:
    started, finished = (pod.started, pod.finished or now) if pod else (None, None)
    active = max(0, round((finished - started).total_seconds())) if started and finished else 0
    return StepRecord(
        stage=current.stage,
        attempt=current.attempt,
        kind=current.kind,
        job_uid=job.uid,
        outcome="Failed",
        start_time=st.timestamp(started) if started else "",
        completion_time=st.timestamp(finished) if finished else "",
        active_seconds=active,
    )


def _step_words(current: CurrentStep) -> str:
    words = current.stage if current.stage == Stage.PREPARE else f"{current.stage} of iteration {current.iteration}"
    if current.kind == Kind.COLLECT:
        words += " (collect)"
    return f"{words}, attempt {current.attempt}" if current.attempt else words


def _result_words(report: Report) -> str:
    match report.stage:
        case Stage.PREPARE:
            return "inputs are frozen"
        case Stage.TRAIN:
            return f"{report.train_examples} examples, {report.optimizer_steps} optimizer steps"
        case Stage.EVALUATE:
            scores = ", ".join(f"{m.name} {m.value:.3f} on {m.examples} {m.dataset} rows" for m in report.metrics)
            return f"{scores}; {report.mistakes} mistakes"
        case Stage.GENERATE:
            return f"{report.kept} of {report.generated} rows kept"


def _set(facts: Facts, status: RunStatus, kind: str, value: bool, reason: str, message: str) -> RunStatus:
    return st.with_condition(status, kind, value, reason, message, now=facts.now, generation=facts.run.generation)


def _progress(facts: Facts, status: RunStatus, reason: str, message: str, *, value: bool) -> RunStatus:
    return st.progressing(status, reason, message, value=value, now=facts.now, generation=facts.run.generation)


def _finish(decided: Plan) -> Plan:
    """The derived phase, last."""
    return replace(decided, status=decided.status.model_copy(update={"phase": st.phase_of(decided.status)}))
