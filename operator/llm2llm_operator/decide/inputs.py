"""What a decision may depend on, gathered once: nothing else reaches `plan`, the attempt's rules and the policies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.decide.conditions import Moment
from llm2llm_operator.model.observation import Event, Job, Observation, Pod
from llm2llm_operator.model.run import Run
from llm2llm_operator.model.status import RunStatus


@dataclass(frozen=True)
class Inputs:
    """The run and what the cluster shows of it, at one moment.

    Attributes:
        images: the operator's own images, by stage; pinned when the run is accepted.
        backoff_base: seconds before the first retry of a step.
        confirmed_deleted: names of Jobs that a read found missing.
        events: what the cluster says about a Job that does not start, where somebody looked.
    """

    run: Run
    spec: AugmentationRunSpec
    seen: Observation
    now: datetime
    images: dict[str, str]
    backoff_base: float
    confirmed_deleted: frozenset[str] = frozenset()
    events: tuple[Event, ...] = ()

    @property
    def at(self) -> Moment:
        """When this is, and for which generation of the spec."""
        return Moment(self.now, self.run.generation)

    def job(self, status: RunStatus) -> Job | None:
        """The Job of the attempt in progress, as far as the cache knows."""
        return self.seen.job(status.step.job_name) if status.current_step else None

    def pods(self, status: RunStatus) -> list[Pod]:
        """The pods of that Job, in the order of their starts."""
        job = self.job(status)
        return self.seen.pods_of(job) if job else []

    def busy_pods(self) -> list[Pod]:
        """Pods of the run that have not ended, whichever attempt they are of."""
        return [pod for pod in self.seen.pods if pod.phase in ("Pending", "Running")]

    def seconds_since(self, moment: str) -> float:
        """Seconds from an RFC 3339 time of status until now; never negative, whatever the clocks say (fault 39)."""
        return max(0.0, (self.now - datetime.fromisoformat(moment)) / timedelta(seconds=1)) if moment else 0.0
