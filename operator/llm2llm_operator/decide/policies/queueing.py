"""Finds out why a Job is suspended, and quotes Kueue's own words where the operator may read Workloads."""

from __future__ import annotations

from llm2llm_operator.build.job import queue_of, uses_gpus
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.verdicts import Waiting
from llm2llm_operator.model.observation import Job
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.model.workload import Workload
from llm2llm_operator.reasons import Reason


def waiting_reason(inputs: Inputs, status: RunStatus, job: Job) -> Waiting:
    """Returns why a suspended Job waits."""
    suspended = f"Job {job.name} is suspended"
    if inputs.workloads is None:
        return Waiting(Reason.QUEUED, f"{suspended}: waiting for its queue to admit it")
    if not inputs.workloads:
        return Waiting(Reason.NO_WORKLOAD, f"{suspended}, and Kueue has no Workload for it: {_advice(inputs, status)}")
    workload = inputs.workloads[-1]
    if not workload.queue:  # Kueue would say that LocalQueue "" does not exist
        words = f"Kueue manages all Jobs of this namespace, and this one has no queue: {_set_queue(inputs, status)}"
        return Waiting(Reason.INADMISSIBLE, f"{suspended}: {words}")
    reason, words = _of_workload(workload)
    return Waiting(reason, f"{suspended}: {words}")


def _of_workload(workload: Workload) -> tuple[Reason, str]:
    if not workload.active:
        cause = f" ({workload.eviction_words})" if workload.eviction_words else ""
        return Reason.DEACTIVATED, f"Workload {workload.name} is deactivated{cause}: set its spec.active to true"
    if workload.quota == Reason.INADMISSIBLE:  # Kueue's word for it, as Preempted is
        return Reason.INADMISSIBLE, workload.quota_words
    quota = workload.check_words or workload.quota_words or "waiting for its queue to admit it"
    if workload.eviction:
        reason = Reason.PREEMPTED if workload.eviction == Reason.PREEMPTED else Reason.REQUEUED
        words = workload.eviction_words or workload.eviction
        return reason, words if quota in words else f"{words}; {quota}"
    return Reason.QUEUED, quota


def _advice(inputs: Inputs, status: RunStatus) -> str:
    """Returns what may keep Kueue from making a Workload."""
    if not queue_of(inputs.spec, status.step):
        return f"resume the Job, or {_set_queue(inputs, status)}"
    name = inputs.spec.scheduling.workload_priority_class_name
    exists = f", and that WorkloadPriorityClass {name} exists" if name else ""
    return f"check that Kueue is running and manages this namespace{exists}"


def _set_queue(inputs: Inputs, status: RunStatus) -> str:
    """Returns which field gives the Job in progress a queue."""
    field = "queueName" if uses_gpus(inputs.spec, status.step) else "cpuQueueName"
    return f"set spec.scheduling.{field} to a LocalQueue"
