"""What follows an attempt that ended without a result, each cause under its own limit."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders
from tests.support.attempts import attempt_in_progress

from llm2llm.errors import FAILS_AT_ONCE, REASONS
from llm2llm.records import Kind, Stage
from llm2llm_operator.decide.policies import retry
from llm2llm_operator.decide.policies.verdicts import Again, AttemptEnd, GiveUp, Hold
from llm2llm_operator.model.status import RetryCounts
from llm2llm_operator.reasons import Reason

LIMITS = {"transient": 2, "outOfMemory": 1, "jobDeleted": 1}


REFUSED = AttemptEnd(message="no healthy devices", refused=True, unstarted=True)
UNSTARTED = AttemptEnd(message="init container i failed", unstarted=True)


def after(ending: AttemptEnd, **step: Any) -> Again | Hold | GiveUp:
    inputs, status = attempt_in_progress([], retries=LIMITS)
    return retry.after_failure(inputs, status.with_step(**step), ending)


@pytest.mark.parametrize("code", sorted(FAILS_AT_ONCE))
def test_what_no_retry_can_mend_fails_the_run_at_once(code: int):
    verdict = after(AttemptEnd(exit_code=code, message="it is broken."))
    assert isinstance(verdict, GiveUp)
    assert verdict.reason == REASONS[code]
    assert verdict.message.startswith("it is broken. ")
    assert "spec.retry" in verdict.message


@pytest.mark.parametrize(
    ("ending", "step", "expected"),
    [
        pytest.param(AttemptEnd(exit_code=75), {}, (Kind.RUN, RetryCounts(transient=1)), id="a transient failure"),
        pytest.param(AttemptEnd(exit_code=3), {}, (Kind.RUN, RetryCounts(transient=1)), id="a code that nobody knows"),
        pytest.param(AttemptEnd(exit_code=75), {"retries": RetryCounts(transient=2)}, Reason.STEP_FAILED, id="one too many"),
        pytest.param(AttemptEnd(exit_code=67), {}, Reason.TEACHER_QUOTA_EXHAUSTED, id="an empty account holds the run"),
        pytest.param(AttemptEnd(exit_code=68), {}, Reason.BUDGET_EXCEEDED, id="a spent budget"),
        pytest.param(AttemptEnd(exit_code=69), {"micro_batch": 8}, (Kind.RUN, RetryCounts(out_of_memory=1)),
                     id="fault 21: half the micro-batch"),
        pytest.param(AttemptEnd(exit_code=69), {"micro_batch": 1}, Reason.OUT_OF_MEMORY, id="fault 21: not below one row"),
        pytest.param(AttemptEnd(exit_code=69), {"micro_batch": 8, "retries": RetryCounts(out_of_memory=1)},
                     Reason.OUT_OF_MEMORY, id="fault 21: its own limit"),
        pytest.param(AttemptEnd(exit_code=137, pod_reason="OOMKilled"), {}, (Kind.RUN, RetryCounts(transient=1)),
                     id="fault 20: host memory is tried again"),
        pytest.param(AttemptEnd(exit_code=137, pod_reason="OOMKilled"), {"retries": RetryCounts(transient=2)},
                     Reason.OUT_OF_MEMORY, id="fault 20: then fails with advice"),
        pytest.param(AttemptEnd(job_vanished=True), {}, (Kind.COLLECT, RetryCounts(job_deleted=1)),
                     id="fault 17: the manifest of a deleted Job's step decides first"),
        pytest.param(AttemptEnd(job_vanished=True), {"retries": RetryCounts(job_deleted=2)}, Reason.JOB_DELETED,
                     id="fault 17: its own limit"),
        pytest.param(AttemptEnd(exit_code=75), {"kind": "Collect"}, (Kind.RUN, RetryCounts(transient=1)),
                     id="nothing to collect: the step is done again"),
        pytest.param(REFUSED, {}, (Kind.RUN, RetryCounts(refused=1)), id="fault 61: a pod that a kubelet refused costs no retry"),
        pytest.param(REFUSED, {"retries": RetryCounts(transient=2, refused=3)}, (Kind.RUN, RetryCounts(transient=2, refused=4)),
                     id="fault 61: nor is it one too many"),
        pytest.param(REFUSED, {"kind": "Collect", "retries": RetryCounts(job_deleted=1)},
                     (Kind.COLLECT, RetryCounts(job_deleted=1, refused=1)), id="fault 61: a Collect that was refused knows nothing yet"),
        pytest.param(REFUSED, {"retries": RetryCounts(refused=20)}, Reason.TOO_MANY_DISRUPTIONS,
                     id="fault 61: so many in a row as evictions are allowed"),
        pytest.param(AttemptEnd(exit_code=75), {"retries": RetryCounts(refused=3)}, (Kind.RUN, RetryCounts(transient=1)),
                     id="fault 61: a pod that was started ends the row"),
        pytest.param(UNSTARTED, {}, (Kind.RUN, RetryCounts(transient=1)), id="fault 61: an init container that failed is a failure"),
        pytest.param(UNSTARTED, {"kind": "Collect", "retries": RetryCounts(job_deleted=1)},
                     (Kind.COLLECT, RetryCounts(job_deleted=1, transient=1)), id="fault 61: a Collect that did not start knows nothing yet"),
    ],
)  # fmt: skip
def test_each_cause_is_counted_under_its_own_limit(ending: AttemptEnd, step: dict[str, Any], expected: Any):
    verdict = after(ending, **step)
    assert ((verdict.kind, verdict.retries) if isinstance(verdict, Again) else verdict.reason) == expected


def test_fault_21_the_next_attempt_has_half_of_what_was_tried():
    report = builders.report(Stage.TRAIN, exit_code=69, micro_batch=6)
    verdict = after(AttemptEnd(exit_code=69, report=report), micro_batch=8)
    assert isinstance(verdict, Again)
    assert verdict.micro_batch == 3


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param({}, (Kind.COLLECT, 0), id="a lost report is read from the manifest"),
        pytest.param({"kind": "Collect"}, (Kind.RUN, 1), id="where that tells none either, the step is done again"),
        pytest.param({"kind": "Collect", "retries": RetryCounts(transient=2)}, Reason.REPORT_MISSING, id="but not for ever"),
    ],
)  # fmt: skip
def test_a_step_without_a_report(step: dict[str, Any], expected: Any):
    inputs, status = attempt_in_progress([], retries=LIMITS)
    verdict = retry.after_lost_report(inputs, status.with_step(**step))
    assert ((verdict.kind, verdict.retries.transient) if isinstance(verdict, Again) else verdict.reason) == expected


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        pytest.param({"attempt": 0}, 0, id="none before the first attempt"),
        pytest.param({"attempt": 1, "retries": RetryCounts(out_of_memory=1)}, 0, id="none for memory"),
        pytest.param({"attempt": 1, "retries": RetryCounts(transient=1)}, 10, id="the base"),
        pytest.param({"attempt": 3, "retries": RetryCounts(transient=3)}, 40, id="doubled"),
        pytest.param({"attempt": 9, "retries": RetryCounts(transient=9)}, 300, id="five minutes at most"),
        pytest.param(
            {"attempt": 1, "retries": RetryCounts(refused=1)}, 60, id="fault 61: a minute after a kubelet's refusal"
        ),
        pytest.param(
            {"attempt": 4, "retries": RetryCounts(transient=1, refused=3)}, 240, id="fault 61: doubled in a row"
        ),
        pytest.param({"attempt": 9, "retries": RetryCounts(refused=9)}, 600, id="fault 61: ten minutes at most"),
        pytest.param(
            {"attempt": 2, "kind": "Collect", "retries": RetryCounts(refused=2)}, 120, id="fault 61: for Collect, too"
        ),
        pytest.param({"attempt": 1, "state": "BackingOff"}, 60, id="a refusal that an older CRD did not keep"),
        pytest.param({"attempt": 2, "kind": "Collect", "retries": RetryCounts(transient=2)}, 0, id="none for Collect"),
    ],
)
def test_the_pause_before_an_attempt(step: dict[str, Any], seconds: float):
    inputs, status = attempt_in_progress([])
    assert retry.backoff_seconds(inputs, status.with_step(**step)) == seconds


def test_fault_61_too_many_refusals_say_how_the_last_one_ended_and_what_to_change():
    verdict = after(REFUSED, retries=RetryCounts(refused=20))
    assert isinstance(verdict, GiveUp)
    assert verdict.message.startswith("no healthy devices. 21 pods in a row ended so")
    assert "spec.maxDisruptions" in verdict.message


def test_fault_61_a_collect_that_did_not_start_says_why_and_not_that_nothing_was_committed():
    verdict = after(UNSTARTED, kind="Collect")
    assert isinstance(verdict, Again)
    assert verdict.message == "init container i failed"
