"""Carries out what `plan` decides: observes, decides, writes the status once, then creates and deletes.

The order makes every interruption harmless: an attempt is persisted before its Job exists, a result is recorded before
its Job is deleted, and the next pass decides again what was lost between two writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError

from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.build.event import RunEvent, event_body
from llm2llm_operator.constants import PROGRESSING, RECONCILING
from llm2llm_operator.decide.actions import Plan
from llm2llm_operator.decide.conditions import Moment, phase_of, with_condition, with_progress
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.plan import plan, plan_for_invalid_spec, plan_for_rejected_status
from llm2llm_operator.decide.policies import waiting
from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.kube.errors import ApiError, ApiUnavailable, Conflict, Forbidden, NotFound, Rejected
from llm2llm_operator.kube.warnings import Warnings
from llm2llm_operator.model.observation import Event, Job, Observation, job_from_object
from llm2llm_operator.model.run import Key, Run
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.model.workload import Workload, workload_from_object
from llm2llm_operator.observability import logs, metrics
from llm2llm_operator.observability import status_metrics as tally
from llm2llm_operator.reasons import Reason
from llm2llm_operator.settings import Settings
from llm2llm_operator.watch.cache import Cache

log = logging.getLogger(__name__)
SLOW_RETRY_SECONDS = 60.0
REASONS_OF_REFUSALS: dict[type[ApiError], Reason] = {
    Forbidden: Reason.FORBIDDEN,
    Conflict: Reason.INTERNAL_ERROR,
    ApiUnavailable: Reason.SERVER_ERROR,
}
REASONS_OF_WEBHOOKS = {
    "failed calling webhook": Reason.WEBHOOK_UNAVAILABLE,
    "admission webhook": Reason.WEBHOOK_DENIED,
}
"""By the API server's words; its status codes for them differ."""
TTL_RETRY_SECONDS = 3600.0
POD_PATIENCE_SECONDS = 1.0
"""How long to wait for the watch to report the pod of an ended Job before reading it.

Two watches are not ordered, and a list does not help an API server that is already late.
"""
TTL_FORBIDDEN = (
    "spec.ttlSecondsAfterFinished has passed, but the operator is not allowed to delete runs: install the chart with "
    "deleteFinishedRuns=true, or delete the run yourself"
)
NOT_OURS = "Job {} exists but belongs to another owner, or has lost its owner or its labels: delete it"


def utc_now() -> datetime:
    """Returns the wall-clock time in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


class Reconciler:
    """Reconciles runs, one pass at a time."""

    def __init__(
        self, cluster: KubeClient, cache: Cache, settings: Settings, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._warnings = Warnings(cluster)
        self._settings = settings
        self._clock = clock
        self._late_pods: set[str] = set()
        """UIDs of ended Jobs whose pods the watch has not reported yet."""

    async def reconcile(self, key: Key) -> float | None:
        """Runs one pass over a run; returns the seconds until the next one, or None."""
        run = await self._read_run(key) if self._cache.must_read(key) else self._cache.run(key)
        if run is None or run.deleting:
            return None
        logs.about_uid(run.uid)
        status = RunStatus.model_validate(run.status)
        logs.about_step(status.current_step)
        try:
            seen = await self._observe(run, status)
            if seen is None:
                return POD_PATIENCE_SECONDS
            decided, inputs = await self._decide(run, status, seen)
        except ApiError:
            raise
        except Exception as error:  # shown on the run; the worker counts it, logs it and backs off
            await self._write_status(run, _with_internal_error(status, error, self._moment(run)))
            raise
        return await self._apply(run, status, decided, inputs)

    async def _read_run(self, key: Key) -> Run | None:
        """Reads a run that is too large for the cache."""
        body = await self._cluster.get_run(*key)
        return Run.from_object(body) if body is not None else None

    def _moment(self, run: Run) -> Moment:
        return Moment(self._clock(), run.generation)

    async def _decide(self, run: Run, status: RunStatus, seen: Observation) -> tuple[Plan, Inputs | None]:
        """Returns what to do, and what it was decided by; None if not even the spec could be parsed."""
        try:
            spec = AugmentationRunSpec.model_validate(run.spec)
        except ValidationError as error:
            return plan_for_invalid_spec(run, status, seen, error, self._moment(run)), None
        now = self._clock()
        inputs = Inputs(
            run=run,
            spec=spec,
            seen=seen,
            now=now,
            events=await self._read_warnings(run, status, seen, now),
            reads_workloads=self._settings.kueue,
            workloads=await self._read_workloads(run, status, seen, now),
            images={stage.value.lower(): image for stage, image in self._settings.images.items()},
            backoff_base=self._settings.backoff_seconds,
            pod_defaults=self._settings.pod_defaults,
        )
        decided = plan(inputs, status)
        if not decided.confirm_deleted:
            return decided, inputs
        body = await self._cluster.get_job(run.namespace, decided.confirm_deleted)
        if body is not None and body["metadata"]["uid"] == status.step.job_uid:
            self._cache.put("jobs", body)
            inputs = replace(inputs, seen=self._cache.observation(run))
            decided = plan(inputs, status)
            if decided.confirm_deleted:  # it is there and is not counted: a person took its owner or its label away
                message = NOT_OURS.format(decided.confirm_deleted)
                status = with_progress(status, inputs.at, Reason.INTERNAL_ERROR, message, value=False)
                decided = Plan(status, wake_after=SLOW_RETRY_SECONDS)
            return decided, inputs
        inputs = replace(inputs, confirmed_deleted=frozenset({decided.confirm_deleted}))
        return plan(inputs, status), inputs

    async def _observe(self, run: Run, status: RunStatus) -> Observation | None:
        """Returns the cache's view, or None if a Job ended but its pod's end is not known yet.

        If the pod is still missing in the next pass, it is read.
        """
        seen = self._cache.observation(run)
        current = status.current_step
        job = seen.job(current.job_name, current.job_uid) if current else None
        if job is None or not job.ended:
            return seen
        if any(pod.step_ended for pod in seen.pods_of(job)[-1:]):
            self._late_pods.discard(job.uid)
            return seen
        if job.uid not in self._late_pods:
            self._late_pods.add(job.uid)
            return None
        self._late_pods.discard(job.uid)
        for body in await self._cluster.pods_of_job(run.namespace, job.name):
            self._cache.put("pods", body)
        return self._cache.observation(run)

    async def _read_warnings(self, run: Run, status: RunStatus, seen: Observation, now: datetime) -> tuple[Event, ...]:
        """Reads the warnings about a Job that does not start, if neither it nor its pods say why (rule C15)."""
        current = status.current_step
        job = seen.job(current.job_name, current.job_uid) if current else None
        if current is None or job is None or not waiting.only_events_can_tell(job, seen.pods_of(job)):
            return ()
        if (now - datetime.fromisoformat(current.since)).total_seconds() < waiting.LOOK_FOR_NEWS_SECONDS:
            return ()
        uids = [job.uid, *(pod.uid for pod in waiting.living(seen.pods_of(job)))]
        return await self._warnings.about(run.namespace, uids, now)

    async def _read_workloads(
        self, run: Run, status: RunStatus, seen: Observation, now: datetime
    ) -> tuple[Workload, ...] | None:
        """Reads what Kueue says of a Job that is suspended: for a while already, or again."""
        current = status.current_step
        job = seen.job(current.job_name, current.job_uid) if current else None
        if not self._settings.kueue or current is None or job is None or not job.suspended:
            return None
        waited = (now - datetime.fromisoformat(current.since)).total_seconds()
        if waited < waiting.LOOK_FOR_NEWS_SECONDS and current.state != "Running" and not current.requeues:
            return None
        try:
            bodies = await self._cluster.workloads_of_job(run.namespace, job.uid)
        except ApiError as error:  # the run waits in any case; only its words are missing
            advice = ", set kueue.readWorkloads of the chart" if isinstance(error, Forbidden) else ""
            log.warning("cannot read Kueue's Workloads%s: %s", advice, error)
            return None
        return tuple(map(workload_from_object, bodies))

    async def _apply(self, run: Run, before: RunStatus, decided: Plan, inputs: Inputs | None) -> float | None:
        logs.about_step(decided.status.current_step)
        known = _is_persisted(before, decided)
        if not known:
            try:
                run = await self._write_status(run, decided.status)
            except Rejected as error:
                if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or inputs is None:
                    raise
                # it would be refused for ever, with the run as if it made progress
                failed = plan_for_rejected_status(inputs, before, error.message)
                return await self._apply(run, before, failed, None)
        if decided.create is not None:
            refused = await self._create(run, decided.create)
            if refused:
                await self._report_refusal(run, _with_refusal(before, decided.status, refused, self._moment(run)))
                return _seconds_until_retry(refused)
        if known:  # after the try, so that a lasting refusal is not cleared before each one
            run = await self._write_status(run, decided.status)
        for job in decided.delete:
            await self._delete(job)
        for event in decided.events:
            await self._emit(run, event)
        return await self._delete_run(run) if decided.delete_run else self._wake_after(run, decided)

    def _wake_after(self, run: Run, decided: Plan) -> float | None:
        """Returns the seconds until the next pass: none if a queue's webhook has suspended the Job that was created,
        since no event follows that says so.
        """
        name = decided.create["metadata"]["name"] if decided.create else ""
        job = self._cache.observation(run).job(name, "") if name else None
        return 0.0 if job is not None and job.suspended else decided.wake_after

    async def _delete_run(self, run: Run) -> float | None:
        """Deletes a run whose time to live has passed; the chart decides whether the operator may."""
        try:
            await self._cluster.delete_run(run.namespace, run.name, run.uid)
        except Forbidden:
            await self._emit(run, RunEvent("Warning", Reason.FORBIDDEN, TTL_FORBIDDEN))
            return TTL_RETRY_SECONDS
        return None

    async def _report_refusal(self, run: Run, status: RunStatus) -> None:
        """Shows a refusal in the status for as long as it lasts, and in one Event."""
        written = await self._write_status(run, status)
        progressing, before = status.condition(PROGRESSING), RunStatus.model_validate(run.status).condition(PROGRESSING)
        if progressing and (
            before is None or (progressing.reason, progressing.message) != (before.reason, before.message)
        ):
            await self._emit(written, RunEvent("Warning", progressing.reason, progressing.message))

    async def _write_status(self, run: Run, status: RunStatus) -> Run:
        """Writes the status once, or not at all if nothing changed; returns the newest version of the run."""
        document = status.to_document()
        patch = merge_patch(run.status, document)
        if not patch:
            return run
        before = RunStatus.model_validate(run.status)
        try:
            body = await self._cluster.patch_status(run.namespace, run.name, run.version, patch)
        except Conflict:
            metrics.CONFLICTS.inc()
            newest = await self._cluster.get_run(run.namespace, run.name)
            if newest is not None:
                self._cache.put("runs", newest)
                if newest.get("status") == document:  # it was this write, whose response was lost
                    tally.count(run.namespace, before, status)
            raise
        self._cache.put("runs", body)
        tally.count(run.namespace, before, status)
        return Run.from_object(body)

    async def _create(self, run: Run, body: dict[str, Any]) -> ApiError | None:
        try:
            created = await self._cluster.create_job(run.namespace, body)
        except (Forbidden, Rejected) as error:
            return error
        except ApiUnavailable as error:
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise  # no connection, or too many requests: that is not about this Job
            return error
        except NotFound:  # the namespace is gone, and the run with it
            return None
        self._cache.put("jobs", created)
        if job_from_object(created).owner_uid != run.uid:
            return Conflict(409, "AlreadyExists", NOT_OURS.format(body["metadata"]["name"]))
        log.info("created Job %s", body["metadata"]["name"])
        return None

    async def _delete(self, job: Job) -> None:
        await self._cluster.delete_job(job.namespace, job.name, job.uid, "Background" if job.ended else "Foreground")
        self._cache.deleting(job)

    async def _emit(self, run: Run, event: RunEvent) -> None:
        try:
            await self._cluster.create_event(run.namespace, event_body(run, event, self._clock()))
        except ApiError as error:
            log.warning("cannot write an event: %s", error)


def _is_persisted(status: RunStatus, decided: Plan) -> bool:
    """Returns whether the attempt is in the status already and only its Job is missing: refused, or lost."""
    known, wanted = status.current_step, decided.status.current_step
    same = known is not None and wanted is not None and known.job_name == wanted.job_name
    return decided.create is not None and same


def _with_refusal(before: RunStatus, status: RunStatus, error: ApiError, at: Moment) -> RunStatus:
    """Returns the status of a run whose Job is not created: RBAC, a policy or a webhook refuses it, in their words."""
    webhook = next((reason for words, reason in REASONS_OF_WEBHOOKS.items() if words in error.message), None)
    reason = webhook or REASONS_OF_REFUSALS.get(type(error), Reason.JOB_REJECTED)
    status = with_condition(status, at, RECONCILING, False, reason)
    known, message = before.condition(PROGRESSING), error.message
    if known is not None and known.reason == reason and isinstance(error, ApiUnavailable):
        message = known.message  # each try has words of its own, such as another port: the first ones say enough
    # keep the time since it makes no progress: the decision assumed that it would
    conditions = [known or c if c.type == PROGRESSING else c for c in status.conditions]
    status = with_progress(status.updated(conditions=conditions), at, reason, message, value=False)
    return status.updated(phase=phase_of(status))


def _seconds_until_retry(refused: ApiError) -> float:
    """Returns the pause after a refusal. Raises one that may pass by itself: soon tried again, then ever less often."""
    if isinstance(refused, ApiUnavailable):
        raise refused
    return SLOW_RETRY_SECONDS


def _with_internal_error(status: RunStatus, error: Exception, at: Moment) -> RunStatus:
    """Returns the status of a run that no decision is possible for: a bug, or an edited status (rules C15 and C19)."""
    message = (
        f"cannot decide what to do next ({type(error).__name__}: {error}): if the status was edited, undo the edit; "
        "otherwise report this together with the operator's log"
    )
    return with_progress(status, at, Reason.INTERNAL_ERROR, message, value=False)


def merge_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON merge patch (RFC 7386) that turns `old` into `new`; empty if they are equal."""
    patch: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[name] = inner
        elif before != value:
            patch[name] = value
    return patch
