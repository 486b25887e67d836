"""The state of a run in a few words, from its conditions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from llm2llm_operator.model.summary import RunSummary, summarize


def status(phase: str, **conditions: tuple[str, str]) -> dict[str, Any]:
    told = [{"type": kind, "status": value, "reason": reason} for kind, (value, reason) in conditions.items()]
    return {"phase": phase, "conditions": told}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({}, RunSummary("Pending", False, "", ""), id="no pass has seen it yet"),
        pytest.param(
            status("Running", Progressing=("True", "Training")), RunSummary("Running", False, "", ""), id="it works"
        ),
        pytest.param(
            status("Queued", Progressing=("False", "Queued")), RunSummary("Queued", False, "", "Queued"), id="it waits"
        ),
        pytest.param(
            status("Suspended", Suspended=("True", "BudgetExceeded"), Progressing=("False", "BudgetExceeded")),
            RunSummary("Suspended", False, "BudgetExceeded", ""),
            id="a run that is held does not wait as well",
        ),
        pytest.param(
            status("Running", Suspended=("False", "Resumed"), Progressing=("False", "Unschedulable")),
            RunSummary("Running", False, "", "Unschedulable"),
            id="a hold that is over",
        ),
        pytest.param(
            status("Failed", Suspended=("True", "AwaitingApproval"), Failed=("True", "InvalidSpec")),
            RunSummary("Failed", True, "", ""),
            id="a run that failed while it was held is held no more",
        ),
        pytest.param(
            status("Succeeded", Complete=("True", "GoalReached"), Progressing=("False", "GoalReached")),
            RunSummary("Succeeded", True, "", ""),
            id="an end is nothing to wait for",
        ),
        pytest.param(
            status("Running", Complete=("False", "Continued"), Progressing=("True", "Generating")),
            RunSummary("Running", False, "", ""),
            id="a finished run that goes on",
        ),
    ],
)
def test_the_state_of_a_run(document: dict[str, Any], expected: RunSummary):
    assert summarize(builders.run(document)) == expected
