"""Why a run waits, in the cluster's own words."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.attempts import NOW, attempt_in_progress

from llm2llm_operator.decide.policies import waiting
from llm2llm_operator.model.containers import InitContainer
from llm2llm_operator.model.observation import Event

AGO = NOW - timedelta(seconds=30)


def warning(reason: str, message: str, moment: datetime = NOW) -> Event:
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
        pytest.param({}, [], [warning("FailedMount", "old", NOW - timedelta(hours=1)), warning("BackOff", "new")], "BackOff", "new",
                     id="the newest warning counts"),
        pytest.param({}, [{}], [warning("Pwned: https://evil", "pay here")], "ClusterWarning", "pod p: pay here",
                     id="fault 54: a reason that Kubernetes does not give"),
        pytest.param({}, [{}], [warning("FailedScheduling", "0/2 nodes")], None, "", id="a warning that outlived its cause"),
        pytest.param({"ending_since": NOW - timedelta(minutes=16)}, [{"running": True, "node": "n1"}], [],
                     "PodStuckTerminating", "node n1", id="fault 26: a pod that does not go"),
        pytest.param({"ending_since": NOW - timedelta(minutes=14)}, [{"running": True}], [], None, "",
                     id="fault 26: not before fifteen minutes"),
        pytest.param({}, [{"gated": "Scheduling is blocked (a/b)"}], [], "SchedulingGated", "blocked (a/b)",
                     id="fault 61: a scheduling gate"),
        pytest.param({}, [{"init": InitContainer("i", "ImagePullBackOff", words="no such image")}], [], "ImagePullBackOff",
                     "init container i: no such image", id="fault 61: an init container whose image cannot be pulled"),
        pytest.param({}, [{"init": InitContainer("i", "InvalidImageName")}], [], "InvalidImage",
                     "init container i: InvalidImageName", id="fault 61: an init container with an image name that nobody can pull"),
        pytest.param({}, [{"init": InitContainer("i", "CrashLoopBackOff", 1, "exit code 1")}], [], "CrashLoopBackOff",
                     "init container i: exit code 1", id="fault 61: an init container that crashes"),
        pytest.param({}, [{"init": InitContainer("i", exit_code=1, words="exit code 1")}], [], "CrashLoopBackOff",
                     "init container i: exit code 1", id="fault 61: it is started again, and will crash again"),
        pytest.param({}, [{"waiting_reason": "Pwned", "waiting_message": "pay here"}], [], "ClusterWarning", "Pwned: pay here",
                     id="fault 61: a reason that no kubelet gives"),
        pytest.param({}, [{"waiting_reason": "Pwned"}], [], "ClusterWarning", "pod j-x: Pwned", id="such a reason alone"),
        pytest.param({}, [{"waiting_reason": "PodInitializing", "init": InitContainer("i"), "bound": AGO}], [],
                     "PodInitializing", "waits for init container i", id="fault 61: an init container that does not end"),
        pytest.param({}, [{"init": InitContainer("i"), "bound": AGO}], [warning("FailedMount", "an old one")], "PodInitializing",
                     "init container i", id="an init container that runs has outlived the warnings before it"),
        pytest.param({}, [{"init": InitContainer("i", "PodInitializing"), "bound": AGO}], [warning("FailedMount", "no volume")],
                     "FailedMount", "no volume", id="a warning says more of one that has not started"),
        pytest.param({}, [{"init": InitContainer("i", "PodInitializing"), "bound": AGO}], [], "PodInitializing", "init container i",
                     id="fault 61: an init container that does not start"),
        pytest.param({}, [{"init": InitContainer("i"), "bound": NOW - timedelta(seconds=29), "created": AGO}], [], None, "",
                     id="an init container may take its time"),
        pytest.param({}, [{"unclaimed_by": "nobody", "created": AGO}], [], "NoScheduler",
                     "no scheduler 'nobody' has taken pod j-x: check that it runs", id="fault 61: a scheduler that is away"),
        pytest.param({}, [{"unclaimed_by": "nobody", "created": NOW - timedelta(seconds=29)}], [], None, "",
                     id="a scheduler may take its time"),
        pytest.param({}, [{"unclaimed_by": "nobody", "created": NOW + timedelta(days=400)}], [], None, "",
                     id="fault 39: nor does a clock that is ahead"),
        pytest.param({}, [{"exit_code": 137, "disrupted": True, "disruption": "EvictionByEvictionAPI: evicting"}], [], "Disrupted",
                     "pod j-x: EvictionByEvictionAPI: evicting; its Job starts another pod", id="fault 61: an eviction"),
        pytest.param({}, [{"exit_code": 137, "disrupted": True, "rejection": "Evicted: low on memory"}], [], "Disrupted",
                     "pod j-x: Evicted: low on memory", id="fault 61: an eviction by a kubelet"),
        pytest.param({}, [{"exit_code": 137, "disrupted": True}, {"uid": "2", "unschedulable": "0/3 nodes"}], [], "Unschedulable",
                     "0/3 nodes", id="what its replacement waits for says more than the eviction"),
        pytest.param({}, [{"exit_code": 137, "disrupted": True}], [warning("FailedCreate", "exceeded quota")], "QuotaExceeded",
                     "exceeded quota", id="or what keeps it from being created"),
        pytest.param({}, [{"running": True, "disrupted": True}], [], None, "", id="a pod that still saves a checkpoint"),
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


def test_a_scheduler_that_the_run_names_is_told_with_its_field():
    pods = [{"unclaimed_by": "nobody", "created": AGO}]
    inputs, status = attempt_in_progress(pods, podOverrides={"schedulerName": "nobody"})
    told = waiting.waiting_reason(inputs, status)
    assert told is not None
    assert told.message == "no scheduler 'nobody' has taken pod j-x: check spec.podOverrides.schedulerName"


@pytest.mark.parametrize(
    ("pods", "seconds"),
    [
        pytest.param(
            [{"unclaimed_by": "nobody", "created": NOW - timedelta(seconds=12)}], 18, id="no scheduler so far"
        ),
        pytest.param(
            [{"init": InitContainer("i"), "bound": NOW - timedelta(seconds=12)}], 18, id="an init container runs"
        ),
        pytest.param([{"init": InitContainer("i"), "created": NOW}], 30, id="nobody says when it got its node"),
        pytest.param([{"unclaimed_by": "nobody", "created": AGO}], None, id="it is told"),
        pytest.param([{"running": True, "created": NOW}], None, id="a pod that runs"),
        pytest.param(
            [{"init": InitContainer("i", "ErrImagePull"), "bound": NOW}], None, id="its init container says why"
        ),
        pytest.param(
            [{"init": InitContainer("i", exit_code=1), "phase": "Failed", "bound": NOW}], None, id="it has ended"
        ),
        pytest.param([], None, id="no pod"),
    ],
)
def test_a_silent_pod_is_looked_at_when_its_silence_says_something(pods: list[dict[str, Any]], seconds: float | None):
    inputs, status = attempt_in_progress(pods)
    assert waiting.seconds_left(inputs, status) == seconds


@pytest.mark.parametrize(
    ("job", "pods", "expected"),
    [
        pytest.param({}, [], True, id="no pod"),
        pytest.param({}, [{}], True, id="a pod that says nothing"),
        pytest.param({"state": "suspended"}, [], False, id="a queue holds it back"),
        pytest.param({"state": "failed"}, [], False, id="it has ended"),
        pytest.param({}, [{"running": True}], False, id="it runs"),
        pytest.param({}, [{"exit_code": 75}], False, id="its Job is about to end"),
        pytest.param({}, [{"exit_code": 143}], True, id="a pod that was stopped, and not for a disruption"),
        pytest.param({}, [{"exit_code": 137, "disrupted": True}], True, id="its Job should have started another pod"),
        pytest.param(
            {}, [{"exit_code": 137, "disrupted": True}, {"uid": "2"}], True, id="the pod that replaces another one"
        ),
        pytest.param({}, [{"gated": "blocked"}], False, id="a gate says why"),
        pytest.param({}, [{"init": InitContainer("i", "ErrImagePull")}], False, id="an init container says why"),
    ],
)
def test_events_are_read_where_nothing_else_can_tell(job: dict[str, Any], pods: list[dict[str, Any]], expected: bool):
    inputs, status = attempt_in_progress(pods, job)
    subject = inputs.job(status)
    assert subject is not None
    assert waiting.only_events_can_tell(subject, inputs.pods(status)) == expected
