"""Why a run waits, in the cluster's own words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support.attempts import NOW, attempt_in_progress

from llm2llm_operator.decide.policies import waiting
from llm2llm_operator.model.observation import Event


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
    inputs, status = attempt_in_progress(pods, job, tuple(events))
    told = waiting.waiting_reason(inputs, status)
    assert (told.reason if told else None) == reason
    assert words in (told.message if told else "")
