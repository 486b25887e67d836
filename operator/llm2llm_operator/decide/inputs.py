"""Gathers, once, all that a decision may depend on: `plan`, the attempt's rules and the policies get only this."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.build.poddefaults import NO_DEFAULTS, PodDefaults
from llm2llm_operator.decide.conditions import Moment
from llm2llm_operator.model.observation import Event, Job, Observation, Pod
from llm2llm_operator.model.run import Run
from llm2llm_operator.model.status import RunStatus
from llm2llm_operator.model.workload import Workload


@dataclass(frozen=True)
class Inputs:
    """The run and the state of the cluster that concerns it, at one moment.

    Attributes:
        images: the operator's own images, by stage; pinned when the run is accepted.
        backoff_base: seconds before the first retry of a step.
        pod_defaults: what the operator's settings add to the pods of steps.
        confirmed_deleted: names of Jobs that a read found missing.
        events: warnings about a Job that does not start, if they were read.
        reads_workloads: whether the operator may ask Kueue.
        workloads: Kueue's, of the Job in progress; None if they were not read.
    """

    run: Run
    spec: AugmentationRunSpec
    seen: Observation
    now: datetime
    images: dict[str, str]
    backoff_base: float
    confirmed_deleted: frozenset[str] = frozenset()
    pod_defaults: PodDefaults = NO_DEFAULTS
    events: tuple[Event, ...] = ()
    reads_workloads: bool = False
    workloads: tuple[Workload, ...] | None = None

    @property
    def at(self) -> Moment:
        """The time of the decision and the generation of the spec."""
        return Moment(self.now, self.run.generation)

    def job(self, status: RunStatus) -> Job | None:
        """Returns the Job of the attempt in progress, if the cache has it."""
        return self.seen.job(status.step.job_name, status.step.job_uid) if status.current_step else None

    def pods(self, status: RunStatus) -> list[Pod]:
        """Returns the pods of that Job, in the order of their starts."""
        job = self.job(status)
        return self.seen.pods_of(job) if job else []

    def busy_pods(self) -> list[Pod]:
        """Returns the pods of the run that have not ended, of whichever attempt."""
        return [pod for pod in self.seen.pods if pod.phase in ("Pending", "Running")]

    def seconds_since(self, moment: str) -> float:
        """Returns the seconds from an RFC 3339 time of status until now; never negative, despite skew (fault 39)."""
        return self.seconds_since_moment(datetime.fromisoformat(moment)) if moment else 0.0

    def seconds_since_moment(self, moment: datetime) -> float:
        """Returns the seconds from a time by another clock until now; never negative, despite skew (fault 39)."""
        return max(0.0, (self.now - moment) / timedelta(seconds=1))
