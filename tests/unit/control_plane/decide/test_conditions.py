"""Conditions as Kubernetes has them, and the phase that people see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import builders

from llm2llm_operator.decide.conditions import (
    Moment,
    mark_observed,
    phase_of,
    timestamp,
    with_completion,
    with_condition,
    with_failure,
    with_progress,
)
from llm2llm_operator.model.status import CurrentStep, RunStatus, StepRecord

FIRST = Moment(builders.NOW, 1)
LATER = Moment(builders.NOW + timedelta(hours=1), 2)
NOON, ONE = "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"


def conditions(status: RunStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def test_a_condition_keeps_its_transition_time_until_its_value_changes():
    status = with_condition(RunStatus(), FIRST, "Progressing", False, "Queued", "a queue")
    status = with_condition(status, LATER, "Progressing", False, "Unschedulable", "no node")
    told = status.condition("Progressing")
    assert told
    assert (told.reason, told.message, told.last_transition_time) == ("Unschedulable", "no node", NOON)
    assert told.observed_generation == 2
    told = with_condition(status, LATER, "Progressing", True, "Training").condition("Progressing")
    assert told
    assert (told.status, told.last_transition_time) == ("True", ONE)


def test_a_condition_that_says_the_same_asks_for_no_write_even_of_a_newer_spec():
    status = with_condition(RunStatus(), FIRST, "Progressing", True, "Training", "m")
    assert with_condition(status, LATER, "Progressing", True, "Training", "m") == status


def test_a_condition_can_be_marked_as_observed_for_a_newer_spec():
    status = with_condition(RunStatus(), FIRST, "Complete", True, "GoalReached")
    status = mark_observed(with_condition(status, FIRST, "Stalled", False, "Accepted"), "Complete", 7)
    assert [(c.type, c.observed_generation, c.last_transition_time) for c in status.conditions] == [
        ("Complete", 7, NOON),
        ("Stalled", 1, NOON),
    ]


def test_a_changed_condition_stays_where_it_was_in_the_list():
    status = RunStatus()
    for kind in ("Reconciling", "Stalled", "Progressing"):
        status = with_condition(status, FIRST, kind, False, "Accepted")
    status = with_condition(status, LATER, "Stalled", True, "StepFailed")
    assert list(conditions(status)) == ["Reconciling", "Stalled", "Progressing"]


def test_messages_are_cut_to_what_the_schema_of_the_status_takes():
    status = with_progress(RunStatus(), FIRST, "Unschedulable", "x" * 5000, value=False)
    told = status.condition("Progressing")
    assert told
    assert (len(told.message), len(status.message)) == (4096, 4096)
    RunStatus.model_validate(status.to_document())


def test_a_failed_run_is_stalled_for_kstatus_and_makes_no_progress():
    status = with_failure(RunStatus(steps=[record()]), LATER, "StepFailed", "why")
    assert conditions(status) == {
        "Failed": ("True", "StepFailed"),
        "Stalled": ("True", "StepFailed"),
        "Reconciling": ("False", "StepFailed"),
        "Progressing": ("False", "StepFailed"),
    }
    assert (status.message, status.completion_time, len(status.steps)) == ("why", ONE, 1)


def test_a_complete_run_has_no_step_in_progress_and_no_clock_that_runs():
    running = RunStatus(current_step=CurrentStep(stage="Evaluate"), active_since=NOON)
    status = with_completion(running, LATER, "GoalReached", "0.9 of 0.9")
    assert conditions(status) == {"Complete": ("True", "GoalReached"), "Progressing": ("False", "GoalReached")}
    assert (status.current_step, status.active_since, status.completion_time) == (None, "", ONE)


def record() -> StepRecord:
    return StepRecord(stage="Prepare", attempt=0, outcome="Succeeded")


RUNNING = CurrentStep(stage="Prepare", state="Running")
WAITING = CurrentStep(stage="Prepare", state="Pending")
QUEUED = CurrentStep(stage="Prepare", state="Queued")
BACKING_OFF = CurrentStep(stage="Prepare", state="BackingOff")


@pytest.mark.parametrize(
    ("true", "reason", "fields", "phase"),
    [
        pytest.param((), "", {}, "Pending", id="nothing has happened"),
        pytest.param((), "Preparing", {"current_step": WAITING}, "Pending", id="its first container has not started"),
        pytest.param((), "Preparing", {"current_step": RUNNING}, "Running", id="its first container runs"),
        pytest.param((), "Training", {"steps": [record()]}, "Running", id="between two steps"),
        pytest.param(
            (), "Queued", {"steps": [record()], "current_step": QUEUED}, "Queued", id="a queue holds its Job back"
        ),
        pytest.param((), "NoWorkload", {"current_step": QUEUED}, "Queued", id="or nobody knows of it"),
        pytest.param(
            (), "ImagePullBackOff", {"steps": [record()], "current_step": WAITING}, "Pending", id="its pod does not start"
        ),
        pytest.param(
            (), "BackingOff", {"steps": [record()], "current_step": BACKING_OFF}, "Pending", id="it waits for a retry"
        ),
        pytest.param(
            (), "Suspending", {"steps": [record()], "current_step": RUNNING}, "Running", id="its pod still saves"
        ),
        pytest.param(("Suspended",), "Queued", {"steps": [record()]}, "Suspended", id="held"),
        pytest.param(("Failed", "Suspended"), "StepFailed", {"steps": [record()]}, "Failed", id="failed while it was held"),
        pytest.param(("Complete",), "GoalReached", {"steps": [record()]}, "Succeeded", id="complete"),
    ],
)  # fmt: skip
def test_the_phase_of_a_run(true: tuple[str, ...], reason: str, fields: dict[str, Any], phase: str):
    status = RunStatus(**fields)
    if reason:
        status = with_progress(status, FIRST, reason, "", value=False)
    for kind in true:
        status = with_condition(status, FIRST, kind, True, "Any")
    assert phase_of(status) == phase


def test_a_run_at_work_is_running_between_a_jobs_creation_and_its_container():
    status = with_progress(RunStatus(steps=[record()], current_step=WAITING), FIRST, "Training", "", value=True)
    assert phase_of(status) == "Running"


def test_times_are_whole_seconds_of_utc():
    assert timestamp(datetime(2026, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC)) == NOON
