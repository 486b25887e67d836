"""What a person is advised to do with a run that has ended or is held."""

from __future__ import annotations

from typing import Any

import pytest

from llm2llm_cluster.next_steps import HELD, next_step
from llm2llm_operator.reasons import About, Reason


def run(phase: str, reason: str = "", *, suspend: bool = False, **status: Any) -> dict[str, Any]:
    condition = {"type": phase, "status": "True", "reason": reason}
    return {
        "metadata": {"name": "r"},
        "spec": {"suspend": suspend},
        "status": {"phase": phase, "conditions": [condition], **status},
    }


@pytest.mark.parametrize(
    ("of", "advice"),
    [
        pytest.param(run("Suspended", "SuspendedByUser", suspend=True), "to let it go on: llm2llm resume r", id="by a person"),
        pytest.param(
            run("Suspended", "AwaitingApproval"), "read the newest rows of the teacher, then: llm2llm approve r", id="approval"
        ),
        pytest.param(
            run("Suspended", "BudgetExceeded"),
            "it goes on by itself once the limit is raised: llm2llm topup r (--tokens, --cost, --gpu-hours)", id="budget",
        ),
        pytest.param(run("Suspended", "TeacherQuotaExhausted"), "add credit, then: llm2llm retry r", id="credit"),
        pytest.param(
            run("Suspended", "TeacherQuotaExhausted", suspend=True),
            "add credit, then: llm2llm retry r; spec.suspend holds it, too; to let it go on: llm2llm resume r", id="both",
        ),
        pytest.param(
            run("Failed", "BudgetExceeded"),
            "raise the limit: llm2llm topup r (--tokens, --cost, --gpu-hours), then: llm2llm retry r", id="failed by its budget",
        ),
        pytest.param(run("Failed", "InvalidData"), "correct the cause, then: llm2llm retry r", id="failed"),
        pytest.param(
            run("Succeeded", artifactsUri="s3://b/r", best={"modelUri": "s3://b/r/a"}),
            "the report is at s3://b/r/report/index.html, the best student at s3://b/r/a", id="succeeded",
        ),
        pytest.param(
            run("Succeeded", artifactsUri="s3://b/r"), "the report is at s3://b/r/report/index.html", id="without a best"
        ),
        pytest.param(run("Running"), "", id="at work"),
    ],
)  # fmt: skip
def test_the_advice_for_each_way_to_stand_still(of: dict[str, Any], advice: str):
    assert next_step(of) == advice


def test_each_reason_to_hold_a_run_has_its_advice():
    assert set(HELD) == {reason for reason in Reason if About.SUSPENDED in reason.about}


@pytest.mark.parametrize("reason", [reason for reason in Reason if About.FAILED in reason.about])
def test_each_reason_to_fail_has_an_advice_that_ends_in_a_retry(reason: Reason):
    assert next_step(run("Failed", reason)).endswith("then: llm2llm retry r")
