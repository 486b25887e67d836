"""Seconds that containers ran, from the times of their pods."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders
from tests.support.attempts import NOW, minutes_ago

from llm2llm_operator.decide.conditions import timestamp
from llm2llm_operator.decide.policies.clock import closed_seconds, open_seconds
from llm2llm_operator.model.observation import Pod

FIRST: dict[str, Any] = {"exit_code": 143, "started": minutes_ago(9), "finished": minutes_ago(6)}
SECOND: dict[str, Any] = {"exit_code": 0, "started": minutes_ago(5), "finished": minutes_ago(1)}


def pods(*changes: dict[str, Any]) -> list[Pod]:
    job = builders.job("j")
    return [builders.pod(job, uid=str(number), **each) for number, each in enumerate(changes)]


@pytest.mark.parametrize(
    ("changes", "until", "seconds"),
    [
        pytest.param([], "", 0, id="no pod"),
        pytest.param([FIRST, SECOND], "", 7 * 60, id="the pods of an attempt add up"),
        pytest.param([FIRST, SECOND], timestamp(minutes_ago(6)), 4 * 60, id="the first one is counted already"),
        pytest.param([FIRST, SECOND], timestamp(minutes_ago(1)), 0, id="all are counted already"),
        pytest.param([FIRST, {"running": True, "started": minutes_ago(5)}], "", 3 * 60, id="one that runs has no end yet"),
        pytest.param([FIRST, {"exit_code": 0, "started": NOW, "finished": minutes_ago(5)}], "", 3 * 60,
                     id="one that ended before it started takes nothing from the others"),
        pytest.param([FIRST, {"exit_code": 128, "started": None}], "", 3 * 60, id="one that could not start"),
        pytest.param([{"exit_code": 0, "started": NOW, "finished": NOW + timedelta(seconds=0.6)}], "", 1,
                     id="whole seconds"),
    ],
)  # fmt: skip
def test_seconds_of_ended_containers(changes: list[dict[str, Any]], until: str, seconds: int):
    assert closed_seconds(pods(*changes), until) == seconds


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        pytest.param([], None, id="no pod"),
        pytest.param([{}], None, id="one that waits"),
        pytest.param([FIRST], None, id="one that ended"),
        pytest.param([FIRST, {"running": True, "started": minutes_ago(5)}], 300.0, id="one that runs"),
        pytest.param([{"running": True, "started": NOW}], 0.0, id="one that starts now runs"),
        pytest.param([{"running": True, "started": minutes_ago(-5)}], 0.0, id="a node whose clock is ahead"),
    ],
)
def test_seconds_of_the_container_that_runs(changes: list[dict[str, Any]], seconds: float | None):
    assert open_seconds(pods(*changes), NOW) == seconds
