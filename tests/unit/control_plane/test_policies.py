from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.pods import StepBlock
from llm2llm.api.run import AugmentationRunSpec
from llm2llm_operator.decide import history as st
from llm2llm_operator.decide.policies import deadlines, waiting
from llm2llm_operator.model.observation import Event
from llm2llm_operator.model.status import CurrentStep, RunStatus

JOB = builders.job("j")
NOW = builders.NOW


def minutes_ago(minutes: float) -> Any:
    return NOW - timedelta(minutes=minutes)


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
    spec = AugmentationRunSpec.model_validate(builders.spec(activeDeadlineSeconds=run_limit))
    block = StepBlock(active_deadline_seconds=step_limit, startup_deadline_seconds=start_limit)
    current = CurrentStep(stage="Train", since=st.timestamp(minutes_ago(10)))
    seen = [builders.pod(JOB, **pod) for pod in pods]
    verdict = deadlines.check(spec, block, RunStatus(), current, seen, NOW)
    assert (verdict.reason if isinstance(verdict, deadlines.Exceeded) else verdict.seconds) == expected


def test_the_start_up_clock_stands_while_a_queue_holds_the_job_back():
    spec = AugmentationRunSpec.model_validate(builders.spec())
    current = CurrentStep(stage="Train", state="Queued", since=st.timestamp(minutes_ago(600)))
    verdict = deadlines.check(spec, StepBlock(startup_deadline_seconds=60), RunStatus(), current, [], NOW)
    assert verdict == deadlines.Left(None)


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
    subject = builders.job("j", **job)
    told = waiting.waiting_reason(subject, [builders.pod(subject, **pod) for pod in pods], tuple(events), NOW)
    assert (told.reason if told else None) == reason
    assert words in (told.message if told else "")
