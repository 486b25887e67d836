"""Deadlines count the seconds that containers ran, and the wait for the first of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.attempts import NOW, attempt_in_progress, minutes_ago

from llm2llm_operator.decide.conditions import timestamp
from llm2llm_operator.decide.policies import deadlines


@pytest.mark.parametrize(
    ("run_limit", "step_limit", "start_limit", "pods", "expected"),
    [
        pytest.param(None, None, None, [{"running": True}], None, id="no deadline, no end and no wake-up"),
        pytest.param(600, None, None, [{"running": True, "started": minutes_ago(5)}], 300.0, id="wakes at the run's deadline"),
        pytest.param(300, None, None, [{"running": True, "started": minutes_ago(5)}], "DeadlineExceeded", id="at the run's deadline"),
        pytest.param(None, 200, None, [{"running": True, "started": minutes_ago(5)}], "DeadlineExceeded", id="the step's own deadline"),
        pytest.param(300, None, None, [{}], None, id="the clock stands while nothing runs"),
        pytest.param(
            400, None, None,
            [{"exit_code": 143, "started": minutes_ago(9), "finished": minutes_ago(5)}, {"running": True, "started": minutes_ago(3), "uid": "2"}],
            "DeadlineExceeded", id="pods of one attempt add up",
        ),
        pytest.param(300, None, None, [{"exit_code": 1, "started": NOW, "finished": minutes_ago(9)}], None, id="fault 39: a clock that goes backwards counts as nothing"),
        pytest.param(None, None, 600, [{}], "StartupDeadlineExceeded", id="nothing started in ten minutes"),
        pytest.param(None, None, 1200, [{}], 600.0, id="wakes at the start-up deadline"),
        pytest.param(None, None, 600, [{"exit_code": 143}], None, id="a pod that once started ends the start-up clock"),
    ],
)  # fmt: skip
def test_deadlines(run_limit: Any, step_limit: Any, start_limit: Any, pods: list[dict[str, Any]], expected: Any):
    train = {"activeDeadlineSeconds": step_limit, "startupDeadlineSeconds": start_limit}
    inputs, status = attempt_in_progress(pods, activeDeadlineSeconds=run_limit, train=train)
    given_up = deadlines.exceeded(inputs, status)
    assert (given_up.reason if given_up else deadlines.seconds_left(inputs, status)) == expected


def test_the_start_up_clock_stands_while_a_queue_holds_the_job_back():
    inputs, status = attempt_in_progress([], train={"startupDeadlineSeconds": 60})
    status = status.with_step(state="Queued", since=timestamp(minutes_ago(600)))
    assert deadlines.exceeded(inputs, status) is None
    assert deadlines.seconds_left(inputs, status) is None
