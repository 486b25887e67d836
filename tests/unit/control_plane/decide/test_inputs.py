"""What a decision may look at: one Job, its pods, and the time since something."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.support import builders
from tests.support.attempts import attempt_in_progress
from tests.support.world import World

from llm2llm_operator.decide.conditions import timestamp
from llm2llm_operator.model.observation import Observation
from llm2llm_operator.model.status import RunStatus


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        pytest.param(timestamp(builders.NOW - timedelta(minutes=2)), 120.0, id="two minutes ago"),
        pytest.param("2026-01-01T13:00:00+02:00", 3600.0, id="told in another time zone"),
        pytest.param(timestamp(builders.NOW + timedelta(minutes=2)), 0.0, id="a clock that is ahead counts as nothing"),
        pytest.param("", 0.0, id="nothing began yet"),
    ],
)
def test_seconds_since_a_time_of_status(moment: str, seconds: float):
    inputs, _ = attempt_in_progress([])
    assert inputs.seconds_since(moment) == seconds


def test_the_job_and_the_pods_are_those_of_the_attempt_in_progress():
    world = World()
    world.settle()
    world.start()
    older = builders.job("older")
    world.jobs["older"], world.pods["older"] = older, [builders.pod(older, exit_code=75)]
    inputs, status = world.facts(), RunStatus.model_validate(world.status)
    assert inputs.job(status) == world.jobs[world.current]
    assert [pod.name for pod in inputs.pods(status)] == [f"{world.current}-x"]
    between = status.updated(current_step=None)
    assert (inputs.job(between), inputs.pods(between)) == (None, [])


def test_a_job_that_the_cache_does_not_have_has_no_pods():
    inputs, status = attempt_in_progress([{}])
    gone = status.with_step(job_name="gone")
    assert (inputs.job(gone), inputs.pods(gone)) == (None, [])


def test_every_pod_that_has_not_ended_keeps_a_run_busy_whichever_attempt_it_is_of():
    world = World()
    older, newer = builders.job("older", state="failed"), builders.job("newer")
    pods = (
        builders.pod(older, running=True, name="left"),
        builders.pod(newer, name="waiting"),
        builders.pod(newer, exit_code=0, name="done"),
        builders.pod(newer, exit_code=1, name="broken"),
    )
    world.jobs = {"older": older, "newer": newer}
    world.pods = {"all": list(pods)}
    assert [pod.name for pod in world.facts().busy_pods()] == ["left", "waiting"]


def test_a_decision_is_made_for_the_generation_of_the_spec_that_it_sees():
    world = World()
    world.facts()
    world.spec = {**world.spec, "maxIterations": 3}
    world.seconds = 5
    at = world.facts().at
    assert (at.generation, at.now) == (2, builders.NOW + timedelta(seconds=5))
    assert world.facts().seen == Observation()
