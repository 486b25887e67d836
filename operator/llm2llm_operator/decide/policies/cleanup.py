"""Decides which Jobs to delete (rule C4): those whose result is recorded, except the newest, kept for its log.

A Job that cannot end, because a container beside its step runs on, is not kept: it would hold its node.
"""

from __future__ import annotations

from llm2llm.loop.outcomes import StepId
from llm2llm.records import Stage
from llm2llm_operator.build.job import job_name
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.model.observation import Job, Observation
from llm2llm_operator.model.run import Run
from llm2llm_operator.model.status import RunStatus


def obsolete_jobs(inputs: Inputs, status: RunStatus) -> tuple[Job, ...]:
    """Returns the Jobs of this run that are no longer needed."""
    run, step = inputs.run, status.current_step
    keep = {_newest_recorded(run, status)}
    if step:
        keep |= {step.job_name, job_name(run.name, run.uid, step.id, max(0, step.attempt - 1))}
    return tuple(job for job in inputs.seen.jobs if job.name not in keep and job.ended and not job.deleting)


def live_jobs(seen: Observation) -> tuple[Job, ...]:
    """Returns the Jobs of a run that is held, or cannot go on, that have not ended.

    A held run should have none: a pass created them but could not record that the run continues.
    """
    return tuple(job for job in seen.jobs if not job.ended and not job.deleting)


def outlived_jobs(inputs: Inputs) -> tuple[Job, ...]:
    """Returns the Jobs that containers beside an ended step keep from ending: nobody else would end them."""
    newest = ((job, inputs.seen.pods_of(job)[-1:]) for job in live_jobs(inputs.seen))
    return tuple(job for job, pods in newest if any(pod.outlived for pod in pods))


def _newest_recorded(run: Run, status: RunStatus) -> str:
    recorded = [(0, record) for record in status.steps]
    recorded += [(row.index, record) for row in status.iterations for record in row.steps]
    if not recorded:
        return ""
    # not the last row of the table: Test is recorded with the iteration that is best
    iteration, record = max(recorded, key=lambda entry: (entry[1].completion_time, recorded.index(entry)))
    return job_name(run.name, run.uid, StepId(Stage(record.stage), iteration), record.attempt)
