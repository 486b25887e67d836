"""What is read of Jobs, pods and Events as the API server returns them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import builders

from llm2llm_operator.constants import LABEL_RUN, LABEL_RUN_UID
from llm2llm_operator.model.observation import Event, Observation, event_from_object, job_from_object, pod_from_object

STARTED, FINISHED = "2026-01-01T12:00:00Z", "2026-01-01T12:05:00Z"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(*conditions: tuple[str, str], **metadata: Any) -> dict[str, Any]:
    """A Job with conditions (type, status)."""
    told = [
        {"type": kind, "status": value, "lastTransitionTime": STARTED, "reason": f"{kind}Reason", "message": f"{kind}!"}
        for kind, value in conditions
    ]
    return {
        "metadata": {"namespace": "ns", "name": "j", "uid": "u", "resourceVersion": "12", **metadata},
        "spec": {"suspend": False},
        "status": {"conditions": told},
    }


def pod(state: dict[str, Any] | None = None, *conditions: dict[str, str], **status: Any) -> dict[str, Any]:
    """A pod whose container `step` is in this state."""
    containers = [{"name": "istio-proxy", "state": {"running": {"startedAt": "2025-01-01T00:00:00Z"}}}]
    if state is not None:
        containers.append({"name": "step", "state": state})
    return {
        "metadata": {"namespace": "ns", "name": "p", "uid": "u", "resourceVersion": "12"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "containerStatuses": containers, "conditions": list(conditions), **status},
    }


@pytest.mark.parametrize(
    ("conditions", "ended", "since"),
    [
        pytest.param((), False, None, id="it runs"),
        pytest.param((("Complete", "True"),), True, None, id="it is complete"),
        pytest.param((("Failed", "True"),), True, None, id="it failed"),
        pytest.param((("Failed", "False"),), False, None, id="a condition that does not hold"),
        pytest.param((("FailureTarget", "True"),), False, NOON, id="its failure is decided, a pod may be left"),
        pytest.param((("SuccessCriteriaMet", "True"),), False, NOON, id="its success is decided, a pod may be left"),
        pytest.param((("FailureTarget", "True"), ("Failed", "True")), True, NOON, id="decided, then failed"),
    ],
)
def test_a_job_has_ended_once_it_has_a_terminal_condition(
    conditions: tuple[tuple[str, str], ...], ended: bool, since: datetime | None
):
    read = job_from_object(job(*conditions))
    assert (read.ended, read.ending_since) == (ended, since)


def test_a_failed_job_says_why_and_one_whose_failure_does_not_hold_says_nothing():
    read = job_from_object(job(("Complete", "False"), ("Failed", "True")))
    assert (read.failure_reason, read.failure_message) == ("FailedReason", "Failed!")
    read = job_from_object(job(("Failed", "False")))
    assert (read.failure_reason, read.failure_message) == ("", "")


def test_a_job_belongs_to_its_controller_and_to_the_run_of_its_labels():
    owners = [{"uid": "somebody"}, {"uid": "the run", "controller": True}]
    body = job(ownerReferences=owners, labels={LABEL_RUN: "r", LABEL_RUN_UID: "label"}, deletionTimestamp=STARTED)
    read = job_from_object(body | {"spec": {"suspend": True}})
    assert (read.owner_uid, read.run, read.run_uid, read.version) == ("the run", "r", "label", 12)
    assert (read.suspended, read.deleting) == (True, True)


def test_a_job_that_was_just_created_has_no_status_no_labels_and_no_owner():
    body = {"metadata": job()["metadata"]}
    read = job_from_object(body)
    assert (read.owner_uid, read.run, read.run_uid) == ("", "", "")
    assert (read.ended, read.suspended, read.deleting) == (False, False, False)


def test_the_container_of_the_step_counts_and_no_sidecar():
    read = pod_from_object(pod({"running": {"startedAt": STARTED}}))
    assert (read.started, read.finished, read.exit_code) == (NOON, None, None)
    assert pod_from_object(pod()).started is None


def test_a_container_that_ended_tells_its_times_its_exit_code_and_its_last_words():
    ended = {"exitCode": 137, "reason": "OOMKilled", "message": "{}", "startedAt": STARTED, "finishedAt": FINISHED}
    read = pod_from_object(pod({"terminated": ended}, phase="Failed"))
    assert (read.started, read.finished) == (NOON, NOON + timedelta(minutes=5))
    assert (read.phase, read.exit_code, read.terminated_reason, read.message) == ("Failed", 137, "OOMKilled", "{}")


def test_a_container_that_never_started_has_no_start_though_a_kubelet_says_1970():
    never = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": FINISHED}
    read = pod_from_object(pod({"terminated": never}, phase="Failed"))
    assert (read.started, read.finished) == (None, NOON + timedelta(minutes=5))


def test_a_container_that_waits_says_why():
    read = pod_from_object(pod({"waiting": {"reason": "ErrImagePull", "message": "no such host"}}, phase="Pending"))
    assert (read.waiting_reason, read.waiting_message) == ("ErrImagePull", "no such host")
    assert (read.started, read.phase, read.node) == (None, "Pending", "n1")


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        pytest.param({"status": "False", "reason": "Unschedulable"}, "0/3 nodes", id="no node fits"),
        pytest.param({"status": "False", "reason": "SchedulingGated"}, "", id="a gate holds it back"),
        pytest.param({"status": "False", "reason": "SchedulerError"}, "0/3 nodes", id="the scheduler fails"),
        pytest.param({"status": "True"}, "", id="it has a node"),
    ],
)
def test_only_what_the_scheduler_finds_impossible_is_unschedulable(condition: dict[str, str], message: str):
    read = pod_from_object(pod(None, {"type": "PodScheduled", "message": "0/3 nodes", **condition}))
    assert read.unschedulable == message


def test_a_gate_is_told_with_the_names_of_those_that_have_to_be_removed():
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked",
    }
    body = pod(None, condition, phase="Pending")
    assert pod_from_object(body).gated == "Scheduling is blocked"
    body["spec"] = {"schedulingGates": [{"name": "example.com/quota"}, {"name": "b"}]}
    read = pod_from_object(body)
    assert (read.gated, read.unschedulable) == ("Scheduling is blocked (example.com/quota, b)", "")
    body["status"]["conditions"] = []
    assert pod_from_object(body).gated == "it has scheduling gates (example.com/quota, b)"


@pytest.mark.parametrize(
    ("spec", "conditions", "scheduler"),
    [
        pytest.param({"schedulerName": "nobody"}, (), "nobody", id="nobody has said anything"),
        pytest.param({}, (), "default-scheduler", id="not even the usual one"),
        pytest.param({"nodeName": "n1"}, (), "", id="it has a node"),
        pytest.param({"schedulingGates": [{"name": "a/b"}]}, (), "", id="no scheduler may take it yet"),
        pytest.param({}, ({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},), "", id="refused"),
    ],
)
def test_a_pod_of_which_no_scheduler_has_said_anything_is_unclaimed(
    spec: dict[str, Any], conditions: tuple[dict[str, str], ...], scheduler: str
):
    body = pod(None, *conditions, phase="Pending") | {"spec": spec}
    assert pod_from_object(body).unclaimed_by == scheduler
    body["status"]["phase"] = "Failed"
    assert pod_from_object(body).unclaimed_by == ""


def test_a_pod_knows_when_it_was_created_and_when_it_got_its_node():
    body = pod(None, {"type": "PodScheduled", "status": "True", "lastTransitionTime": FINISHED})
    body["metadata"]["creationTimestamp"] = STARTED
    read = pod_from_object(body)
    assert (read.created, read.bound) == (NOON, NOON + timedelta(minutes=5))


ENDED = {"terminated": {"exitCode": 0, "startedAt": STARTED, "finishedAt": FINISHED}}
FAILED = {"terminated": {"exitCode": 75, "startedAt": STARTED, "finishedAt": FINISHED}}
EVICTED = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": "low on memory"}


@pytest.mark.parametrize(
    ("state", "conditions", "changes", "outlived"),
    [
        pytest.param({"running": {"startedAt": STARTED}}, (), {}, False, id="the step runs"),
        pytest.param(ENDED, (), {}, True, id="the step has ended and its sidecar runs on"),
        pytest.param(FAILED, (), {}, True, id="the step has failed and its sidecar runs on"),
        pytest.param(ENDED, (), {"phase": "Succeeded"}, False, id="the pod has ended"),
        pytest.param(ENDED, (), {"phase": "Pending"}, True, id="the sidecar has not started yet"),
        pytest.param(FAILED, (EVICTED,), {}, False, id="it is evicted: that ends the sidecar, and another pod follows"),
        pytest.param(ENDED, (EVICTED,), {}, True, id="it is evicted, but the step has succeeded"),
    ],
)
def test_a_pod_is_outlived_by_its_step_while_a_container_beside_it_runs_on(
    state: dict[str, Any], conditions: tuple[dict[str, str], ...], changes: dict[str, str], outlived: bool
):
    assert pod_from_object(pod(state, *conditions, **changes)).outlived == outlived


def test_a_pod_that_is_being_deleted_is_outlived_only_by_a_success():
    for state, outlived in ((ENDED, True), (FAILED, False)):
        body = pod(state)
        body["metadata"]["deletionTimestamp"] = FINISHED
        assert pod_from_object(body).outlived == outlived


UNKNOWN = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "could not be located"}}


@pytest.mark.parametrize(
    ("state", "status", "never_ran"),
    [
        pytest.param(None, {"reason": "UnexpectedAdmissionError", "message": "no healthy devices"}, True, id="refused"),
        pytest.param(
            {"waiting": {"reason": "ContainerCreating"}}, {"reason": "NodeShutdown"}, True, id="refused later"
        ),
        pytest.param(UNKNOWN, {"reason": "OutOfcpu"}, True, id="refused by a kubelet that gives a code all the same"),
        pytest.param(UNKNOWN, {}, False, id="a container that its node lost: nobody knows"),
        pytest.param(
            {"terminated": {"exitCode": 128, "reason": "StartError"}}, {}, False, id="a step that cannot start"
        ),
        pytest.param(FAILED, {"reason": "Evicted"}, False, id="it ran"),
        pytest.param(None, {"phase": "Pending"}, False, id="it has not ended"),
    ],
)
def test_a_pod_that_ended_before_its_step_never_ran(
    state: dict[str, Any] | None, status: dict[str, str], never_ran: bool
):
    assert pod_from_object(pod(state, **{"phase": "Failed", **status})).never_ran == never_ran


def test_the_words_of_an_eviction_and_of_a_refusal_are_kept():
    read = pod_from_object(pod(None, EVICTED, phase="Failed", reason="Evicted", message="The node was low"))
    assert (read.disruption, read.rejection) == ("TerminationByKubelet: low on memory", "Evicted: The node was low")
    read = pod_from_object(pod(None, EVICTED | {"status": "False"}, reason="Nothing", message="to see"))
    assert (read.disruption, read.rejection) == ("", "")


@pytest.mark.parametrize(("value", "disrupted"), [("True", True), ("False", False)])
def test_a_pod_is_disrupted_while_its_condition_holds(value: str, disrupted: bool):
    assert pod_from_object(pod(None, {"type": "DisruptionTarget", "status": value})).disrupted == disrupted


def test_a_pod_that_no_node_has_seen_yet_is_pending():
    read = pod_from_object({"metadata": pod()["metadata"]})
    assert (read.phase, read.node, read.job_uid, read.exit_code, read.deleting) == ("Pending", "", "", None, False)


def test_pods_of_a_job_come_in_the_order_of_their_starts():
    ours, other = builders.job("ours"), builders.job("other")
    first = builders.pod(ours, running=True, uid="first", version=9)
    second = replace(first, uid="second", started=NOON + timedelta(minutes=1), version=3)
    seen = Observation((ours, other), (second, builders.pod(other, running=True), first))
    assert [each.uid for each in seen.pods_of(ours)] == ["first", "second"]
    broken = replace(second, uid="broken", started=None, finished=NOON + timedelta(minutes=2), version=1)
    seen = replace(seen, pods=(broken, *seen.pods))
    assert [each.uid for each in seen.pods_of(ours)] == ["first", "second", "broken"]
    refused = replace(broken, uid="refused", finished=None)
    seen = replace(seen, pods=(refused, *seen.pods))
    assert [each.uid for each in seen.pods_of(ours)] == ["first", "second", "broken", "refused"]
    later = [replace(each, created=NOON - timedelta(minutes=n)) for n, each in enumerate(seen.pods)]
    assert [each.uid for each in replace(seen, pods=tuple(later)).pods_of(ours)][-1] == "refused"
    earlier = [replace(each, created=NOON + timedelta(minutes=n)) for n, each in enumerate(seen.pods)]
    assert next(each.uid for each in replace(seen, pods=tuple(earlier)).pods_of(ours)) == "refused"
    assert (seen.job("other", ""), seen.job("gone", "")) == (other, None)
    assert (seen.job("other", other.uid), seen.job("other", ours.uid)) == (other, None)


@pytest.mark.parametrize(
    ("times", "moment"),
    [
        pytest.param({"lastTimestamp": FINISHED, "eventTime": STARTED}, FINISHED, id="when it was last seen"),
        pytest.param({"lastTimestamp": None, "eventTime": STARTED}, STARTED, id="of the newer API"),
        pytest.param({"metadata": {"creationTimestamp": STARTED}}, STARTED, id="when it was written"),
        pytest.param(
            {"metadata": {"creationTimestamp": STARTED}, "lastTimestamp": "2999-01-01T00:00:00Z"},
            STARTED,
            id="fault 54: not in the future",
        ),
        pytest.param(
            {"metadata": {"creationTimestamp": STARTED}, "lastTimestamp": "2026-01-01T12:06:00Z"},
            FINISHED,
            id="now, by a clock that is a minute ahead",
        ),
        pytest.param({}, "1970-01-01T00:00:00Z", id="nobody knows"),
    ],
)
def test_a_warning_is_as_old_as_its_newest_time(times: dict[str, Any], moment: str):
    body = {"metadata": {}, "type": "Warning", "reason": "FailedMount", "message": "m"}
    now = NOON + timedelta(minutes=5)
    read = event_from_object(body | {"involvedObject": {"kind": "Pod", "name": "p"}} | times, now)
    assert read == Event("FailedMount", "m", "pod p", datetime.fromisoformat(moment))


def test_an_event_that_is_no_warning_is_not_read():
    assert event_from_object({"metadata": {}, "type": "Normal", "reason": "Pulled"}, NOON) is None
