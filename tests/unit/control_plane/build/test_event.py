"""An Event is written once for each transition, whatever is repeated."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support import builders

from llm2llm_operator.build.event import RunEvent, event_body

RUN = builders.run()
EVENT = RunEvent("Warning", "StepFailed", "the disk is full")


def name_of(event: RunEvent, uid: str = builders.UID) -> str:
    name: str = event_body(replace(RUN, uid=uid), event, builders.NOW)["metadata"]["name"]
    return name


def test_the_same_event_of_a_later_pass_has_the_same_name():
    later = event_body(RUN, EVENT, builders.NOW + timedelta(hours=1))
    assert later["metadata"] == event_body(RUN, EVENT, builders.NOW)["metadata"]
    assert later["metadata"]["namespace"] == "ns"
    assert later["firstTimestamp"] == later["lastTimestamp"] == "2026-01-01T13:00:00Z"


@pytest.mark.parametrize(
    ("event", "uid"),
    [
        pytest.param(replace(EVENT, reason="OutOfMemory"), builders.UID, id="another reason"),
        pytest.param(replace(EVENT, message="the disk is full again"), builders.UID, id="another message"),
        pytest.param(EVENT, "another", id="a run that was created again under its name"),
    ],
)
def test_another_event_has_another_name(event: RunEvent, uid: str):
    assert name_of(event, uid) != name_of(EVENT)


def test_two_long_messages_that_differ_only_at_their_end_are_two_events():
    first, second = (replace(EVENT, message="x" * 2000 + end) for end in "ab")
    assert name_of(first) != name_of(second)


def test_kubectl_describe_finds_it_by_the_run_that_it_is_about():
    body = event_body(RUN, EVENT, builders.NOW)
    assert body["involvedObject"] == {
        "apiVersion": "llm2llm.dev/v1alpha1",
        "kind": "AugmentationRun",
        "name": "r",
        "namespace": "ns",
        "uid": builders.UID,
    }
    assert (body["type"], body["reason"], body["message"]) == ("Warning", "StepFailed", "the disk is full")


def test_a_message_is_cut_to_the_kilobyte_that_an_event_may_have():
    assert event_body(RUN, replace(EVENT, message="x" * 1025), builders.NOW)["message"] == "x" * 1024
