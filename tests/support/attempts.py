"""An attempt in progress, as the policies see it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.decide.conditions import timestamp
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.model.observation import Event, Observation
from llm2llm_operator.model.status import CurrentStep, RunStatus
from tests.support import builders

NOW = builders.NOW


def minutes_ago(minutes: float) -> Any:
    return NOW - timedelta(minutes=minutes)


def attempt_in_progress(
    pods: list[dict[str, Any]], job: dict[str, Any] | None = None, events: tuple[Event, ...] = (), **spec: Any
) -> tuple[Inputs, RunStatus]:
    """A training whose attempt has waited for ten minutes, with this Job and these pods."""
    subject = builders.job("j", **(job or {}))
    run = builders.run(**spec)
    inputs = Inputs(
        run=run,
        spec=AugmentationRunSpec.model_validate(run.spec),
        seen=Observation((subject,), tuple(builders.pod(subject, **pod) for pod in pods)),
        now=NOW,
        images={},
        backoff_base=10.0,
        events=events,
    )
    step = CurrentStep(stage="Train", job_name="j", since=timestamp(minutes_ago(10)))
    return inputs, RunStatus(current_step=step)
