"""When a run that has ended is deleted."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.attempts import attempt_in_progress, minutes_ago

from llm2llm_operator.decide.conditions import timestamp
from llm2llm_operator.decide.policies import ttl


@pytest.mark.parametrize(
    ("seconds", "ended", "left"),
    [
        pytest.param(None, 10, None, id="it stays by default"),
        pytest.param(900, None, None, id="it has not ended"),
        pytest.param(900, 10, 300.0, id="some time is left"),
        pytest.param(600, 10, 0.0, id="its time is over"),
        pytest.param(0, 0, 0.0, id="none at all"),
    ],
)
def test_the_time_to_live_counts_from_the_end(seconds: int | None, ended: float | None, left: Any):
    inputs, status = attempt_in_progress([], ttlSecondsAfterFinished=seconds)
    status = status.updated(completion_time=timestamp(minutes_ago(ended)) if ended is not None else "")
    assert ttl.seconds_left(inputs, status) == left
