from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.decide.conditions import timestamp
from llm2llm_operator.decide.inputs import Inputs
from llm2llm_operator.decide.policies import deadlines, waiting
from llm2llm_operator.model.observation import Event, Observation
from llm2llm_operator.model.status import CurrentStep, RunStatus

NOW = builders.NOW


def minutes_ago(minutes: float) -> Any:
    return NOW - timedelta(minutes=minutes)


def waiting_for(
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
    inputs, status = waiting_for(pods, activeDeadlineSeconds=run_limit, train=train)
    given_up = deadlines.exceeded(inputs, status)
    assert (given_up.reason if given_up else deadlines.seconds_left(inputs, status)) == expected


def test_the_start_up_clock_stands_while_a_queue_holds_the_job_back():
    inputs, status = waiting_for([], train={"startupDeadlineSeconds": 60})
    status = status.with_step(state="Queued", since=timestamp(minutes_ago(600)))
    assert deadlines.exceeded(inputs, status) is None
    assert deadlines.seconds_left(inputs, status) is None


def warning(reason: str, message: str, moment: str = "2026-01-01T12:00:00Z") -> Event:
    return Event(reason, message, "pod p", moment)


@pytest.mark.parametrize(
    ("job", "pods", "events", "reason", "words"),
    [
        pytest.param({}, [], [], None, "", id="a Job without a pod is not yet a reason"),
        pytest.param({"state": "suspended"}, [], [], "Queued", "queue", id="fault 18: held back by its queue"),
        pytest.param({}, [{"unschedulable": "0/3 nodes"}], [], "Unschedulable", "0/3 nodes", id="fault 23: no node"),
        pytest.param({}, [{"waiting_reason": "ImagePullBackOff", "waiting_message": "back-off"}], [], "ImagePullBackOff",
                     "back-off", id="fault 22: image cannot be pulled"),
        pytest.param({}, [{"waiting_reason": "InvalidImageName"}], [], "InvalidImage", "InvalidImageName",
                     id="fault 22: an image name that nobody can pull"),
        pytest.param({}, [], [warning("FailedCreate", "exceeded quota: gpus")], "QuotaExceeded", "exceeded quota",
                     id="fault 24: told by an event only"),
        pytest.param({}, [{}], [warning("FailedMount", 'secret "x" not found')], "FailedMount", 'secret "x" not found',
                     id="fault 28: a volume that cannot be mounted"),
        pytest.param({}, [], [warning("A", "old", "2026-01-01T11:00:00Z"), warning("B", "new")], "B", "new",
                     id="the newest warning counts"),
        pytest.param({}, [{}], [warning("FailedScheduling", "0/2 nodes")], None, "", id="a warning that outlived its cause"),
        pytest.param({"ending_since": NOW - timedelta(minutes=16)}, [{"running": True, "node": "n1"}], [],
                     "PodStuckTerminating", "node n1", id="fault 26: a pod that does not go"),
        pytest.param({"ending_since": NOW - timedelta(minutes=14)}, [{"running": True}], [], None, "",
                     id="fault 26: not before fifteen minutes"),
        pytest.param({}, [{"exit_code": 137}, {"uid": "2", "running": True}], [], None, "", id="a replaced pod is no reason"),
    ],
)  # fmt: skip
def test_why_a_run_waits(
    job: dict[str, Any], pods: list[dict[str, Any]], events: list[Event], reason: str | None, words: str
):
    inputs, status = waiting_for(pods, job, tuple(events))
    told = waiting.waiting_reason(inputs, status)
    assert (told.reason if told else None) == reason
    assert words in (told.message if told else "")
