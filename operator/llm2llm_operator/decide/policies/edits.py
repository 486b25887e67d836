"""Decides what an edit of the spec does to a Job that exists: one without a running pod is replaced (next attempt)."""

from __future__ import annotations

from llm2llm_operator.build.settings import is_outdated
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies.verdicts import Waiting
from llm2llm_operator.model.observation import Job
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.reasons import Reason

APPLIES_LATER = "the spec has changed since: this applies from the next attempt; suspend and resume to apply it now"


def outdated(inputs: Inputs, status: RunStatus, job: Job) -> bool:
    """Returns whether the settings of the Job in progress have been edited since it was made."""
    return is_outdated(job.settings, inputs.run.generation, inputs.spec, status.step, status.images)


def replacement_reason(inputs: Inputs, status: RunStatus, job: Job) -> Waiting | None:
    """Returns why the Job is replaced; None if it is up to date, or a pod of it runs or has ended the step."""
    at_work = any(pod.started and not pod.disrupted for pod in inputs.pods(status))
    if at_work or not outdated(inputs, status, job):
        return None
    return Waiting(Reason.REPLACING, f"Job {job.name} has no running pod, and the spec has changed: it is replaced")
