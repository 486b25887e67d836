"""What is spent, what that costs, and how long GPUs may go on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from llm2llm.api.policy import Budget
from llm2llm.budget import Spent, cost, gpu_seconds_left, reached_limit
from llm2llm.records import Usage

PRICES = {"inputPerMillion": "2", "outputPerMillion": "10", "gpuHour": "3"}
SPENT = Spent(Usage(teacher_requests=9, teacher_input_tokens=500_000, teacher_output_tokens=100_000), 1800)
"""Of these prices 1 + 1 + 1.50."""


def test_a_cost_is_that_of_tokens_in_either_direction_and_of_gpu_hours():
    prices = Budget.model_validate({"maxCost": "1", "prices": PRICES}).prices
    assert prices is not None
    assert cost(SPENT, prices) == Decimal("3.5")


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        pytest.param({}, None, id="without a limit nothing ends them"),
        pytest.param({"maxTeacherTokens": 1}, None, id="nor does one of tokens"),
        pytest.param({"maxGPUHours": "2"}, 5400, id="what is left of the hours"),
        pytest.param({"maxGPUHours": "0.25"}, 0, id="never less than nothing"),
        pytest.param({"maxCost": "5", "prices": PRICES}, 1800, id="1.50 left at 3 an hour"),
        pytest.param({"maxCost": "5", "prices": PRICES | {"gpuHour": "0"}}, None, id="GPUs that cost nothing"),
        pytest.param({"maxCost": "5", "prices": PRICES, "maxGPUHours": "0.6"}, 360, id="the hours end first"),
        pytest.param({"maxCost": "5", "prices": PRICES, "maxGPUHours": "9"}, 1800, id="the money ends first"),
    ],
)
def test_gpus_may_go_on_until_the_first_limit(budget: dict[str, Any], seconds: float | None):
    assert gpu_seconds_left(Budget.model_validate(budget), SPENT) == seconds


@pytest.mark.parametrize(
    ("budget", "step", "words"),
    [
        pytest.param({"maxGPUHours": "0.5"}, {"teacher": False, "gpus": 1}, "0.50 GPU hours", id="hours, to the last"),
        pytest.param({"maxGPUHours": "0.5"}, {"teacher": True, "gpus": 0}, "", id="hours stop no step without GPUs"),
        pytest.param({"maxGPUHours": "0.51"}, {"teacher": False, "gpus": 1}, "", id="hours left"),
        pytest.param({"maxTeacherTokens": 600_000}, {"teacher": True, "gpus": 0}, "600000 teacher", id="tokens"),
        pytest.param({"maxTeacherTokens": 600_000}, {"teacher": False, "gpus": 1}, "", id="tokens stop no training"),
        pytest.param(
            {"maxCost": "3.5", "prices": PRICES}, {"teacher": True, "gpus": 0}, "3.5000 has been spent", id="money"
        ),
        pytest.param({"maxCost": "3.5", "prices": PRICES}, {"teacher": False, "gpus": 0}, "", id="what costs nothing"),
    ],
)
def test_a_limit_stands_in_the_way_of_what_uses_it(budget: dict[str, Any], step: dict[str, Any], words: str):
    told = reached_limit(Budget.model_validate(budget), SPENT, **step)
    assert told.startswith(words)
    assert bool(told) == bool(words)
