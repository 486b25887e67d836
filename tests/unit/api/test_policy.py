"""The limits of a run: their ends, and what needs something else."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from llm2llm.api.policy import Budget, EarlyStopping, Retries, Scheduling


def test_money_needs_prices_and_nothing_else_does():
    with pytest.raises(ValidationError, match="Value error, maxCost requires prices"):
        Budget.model_validate({"maxCost": "5"})
    assert Budget.model_validate({"maxCost": "5", "prices": {}}).prices is not None
    assert Budget.model_validate({"maxTeacherTokens": 1, "maxGPUHours": "0.5"}).prices is None


def test_a_budget_of_gpu_hours_is_spelled_as_kubernetes_spells_abbreviations():
    budget = Budget.model_validate({"maxGPUHours": "0.5"})
    assert budget.max_gpu_hours == "0.5"
    assert budget.model_dump(by_alias=True, exclude_none=True)["maxGPUHours"] == "0.5"


@pytest.mark.parametrize(
    ("patience", "taken"),
    [
        pytest.param(2, False, id="two iterations are noise"),
        pytest.param(3, True, id="three"),
        pytest.param(64, True, id="as many as a run can have"),
        pytest.param(65, False, id="more than a run can have"),
    ],
)
def test_patience(patience: int, taken: bool):
    if taken:
        assert EarlyStopping(patience=patience).min_delta == "0.005"
    else:
        with pytest.raises(ValidationError, match="patience"):
            EarlyStopping(patience=patience)


@pytest.mark.parametrize("field", Retries.model_fields)
def test_a_retry_may_be_ruled_out(field: str):
    assert getattr(Retries.model_validate({field: 0}), field) == 0
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Retries.model_validate({field: -1})


@pytest.mark.parametrize(
    ("queue", "taken"),
    [("", True), ("team-a.gpu", True), ("Team", False), ("-a", False), ("a" * 63, True), ("a" * 64, False)],
)
@pytest.mark.parametrize("field", ["queueName", "cpuQueueName"])
def test_a_queue_is_named_as_a_kubernetes_object_and_fits_into_a_label(field: str, queue: str, taken: bool):
    if taken:
        assert Scheduling.model_validate({field: queue}).model_dump(by_alias=True)[field] == queue
    else:
        with pytest.raises(ValidationError):
            Scheduling.model_validate({field: queue})
