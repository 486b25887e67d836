"""What the commands change in a run's spec."""

from __future__ import annotations

from typing import Any

import pytest

from llm2llm.errors import ConfigurationError
from llm2llm_cluster import changes

GENERATED = {
    "index": 0,
    "steps": [{"stage": "Train", "outcome": "Succeeded"}, {"stage": "Generate", "outcome": "Succeeded"}],
}
APPROVAL = {"mode": "BeforeTraining", "approvedRounds": 0}


def run(phase: str = "Running", iterations: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "r"}, "spec": spec, "status": {"phase": phase, "iterations": iterations or []}}


def held(reason: str, **spec: Any) -> dict[str, Any]:
    found = run("Suspended", **spec)
    found["status"]["conditions"] = [{"type": "Suspended", "status": "True", "reason": reason}]
    return found


@pytest.mark.parametrize(
    ("decide", "of", "expected"),
    [
        pytest.param(lambda r: changes.set_suspended(r, suspended=True), run(), {"suspend": True}, id="suspend"),
        pytest.param(
            lambda r: changes.set_suspended(r, suspended=False), run("Suspended", suspend=True), {"suspend": False}, id="resume"
        ),
        pytest.param(changes.retry, run("Failed"), {"retry": 1}, id="the first retry"),
        pytest.param(changes.retry, held("TeacherQuotaExhausted"), {"retry": 1}, id="retry with new credit"),
        pytest.param(changes.retry, held("BudgetExceeded"), {"retry": 1}, id="retry with a new limit"),
        pytest.param(changes.retry, run("Suspended", retry=2), {"retry": 3}, id="another retry"),
        pytest.param(
            changes.approve, run(iterations=[GENERATED], approval=APPROVAL), {"approval": {"approvedRounds": 1}}, id="approve"
        ),
        pytest.param(
            lambda r: changes.top_up(r, tokens=5, cost="2.5"), run(budget={"maxTeacherTokens": 10, "maxCost": "7.5"}),
            {"budget": {"maxTeacherTokens": 15, "maxCost": "10"}}, id="more tokens and money",
        ),
        pytest.param(
            lambda r: changes.top_up(r, gpu_hours="0.25"), run(budget={"maxGPUHours": "100"}),
            {"budget": {"maxGPUHours": "100.25"}}, id="more hours",
        ),
    ],
)  # fmt: skip
def test_the_change_of_each_command(decide: Any, of: dict[str, Any], expected: dict[str, Any]):
    assert decide(of) == expected


@pytest.mark.parametrize(
    ("decide", "of", "words"),
    [
        (lambda r: changes.set_suspended(r, suspended=True), run(suspend=True), "r is suspended already"),
        (lambda r: changes.set_suspended(r, suspended=False), run(), "r is not suspended"),
        (lambda r: changes.set_suspended(r, suspended=True), run("Succeeded"), "r has succeeded: it does nothing more"),
        (changes.retry, run(), "r is Running: only a failed or held run can be retried"),
        (changes.approve, run(), "r requires no approval"),
        (changes.approve, run(approval=APPROVAL), "there is nothing new to approve"),
        (changes.top_up, run(), "name what to raise"),
        (lambda r: changes.top_up(r, cost="5"), run(), "r has no spec.budget.maxCost"),
        (lambda r: changes.top_up(r, cost="-5"), run(budget={"maxCost": "1"}), "give a positive number"),
        (lambda r: changes.top_up(r, cost="much"), run(budget={"maxCost": "1"}), "give a positive number"),
        (changes.retry, held("AwaitingApproval"), "r is held, which a retry does not end: .*: llm2llm approve r"),
        (changes.retry, held("SuspendedByUser", suspend=True), "which a retry does not end: .*: llm2llm resume r"),
        (changes.retry, held("BudgetExceeded", suspend=True), "which a retry does not end: .*: llm2llm resume r"),
        (
            lambda r: changes.set_suspended(r, suspended=False), held("BudgetExceeded"),
            "r is held for another reason than spec.suspend: .*: llm2llm topup r",
        ),
        (
            lambda r: changes.set_suspended(r, suspended=False), held("AwaitingApproval"),
            "r is held for another reason than spec.suspend: .*: llm2llm approve r",
        ),
        (lambda r: changes.top_up(r, cost="inf"), run(budget={"maxCost": "1"}), "give a positive number"),
    ],
)  # fmt: skip
def test_a_change_that_makes_no_sense_is_told_and_not_made(decide: Any, of: dict[str, Any], words: str):
    with pytest.raises(ConfigurationError, match=words):
        decide(of)


KUSTOMIZED = {"kustomize.toolkit.fluxcd.io/name": "apps"}
DISABLED = {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}
INSTANCE = {"app.kubernetes.io/instance": "apps"}


@pytest.mark.parametrize(
    ("metadata", "tool", "possible"),
    [
        pytest.param({}, "", "", id="nobody"),
        pytest.param({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD", "", id="Argo CD"),
        pytest.param({"labels": {"argocd.argoproj.io/instance": "x"}}, "Argo CD", "", id="Argo CD by a label of its own"),
        pytest.param({"labels": KUSTOMIZED}, "Flux", "", id="Flux"),
        pytest.param({"labels": {"helm.toolkit.fluxcd.io/name": "apps"}}, "Flux", "", id="Flux with Helm"),
        pytest.param({"labels": KUSTOMIZED, "annotations": DISABLED}, "", "", id="Flux, which is told to leave it"),
        pytest.param({"labels": KUSTOMIZED | DISABLED}, "", "", id="by a label"),
        pytest.param(
            {"labels": KUSTOMIZED, "annotations": dict.fromkeys(DISABLED, "enabled")}, "Flux", "", id="Flux, which is told not to"
        ),
        pytest.param(
            {"annotations": DISABLED | {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD", "", id="Argo CD, beside a mark of Flux"
        ),
        pytest.param({"labels": INSTANCE}, "", "Argo CD", id="a label of Argo CD 2, and of others"),
        pytest.param({"labels": INSTANCE | {"app.kubernetes.io/managed-by": "Helm"}}, "", "", id="the same label, of Helm"),
    ],
)  # fmt: skip
def test_who_keeps_a_run_as_git_has_it_is_known_by_its_marks(metadata: dict[str, Any], tool: str, possible: str):
    of = {"metadata": metadata}
    assert (changes.keeper(of), changes.possible_keeper(of)) == (tool, possible)
