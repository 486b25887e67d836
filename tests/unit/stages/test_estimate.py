"""What Prepare can say beforehand, from numbers that are easy to check by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.records import Example
from llm2llm.stages.estimate import Estimate, budget_warning, describe_estimate, estimate

SEEDS = [Example(id=str(number), fields={"prompt": "a b c"}, completion="d") for number in range(40)]


def spec(**changes: Any) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(builders.spec(**changes))


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def found(**changes: Any) -> Estimate:
    return estimate(spec(**changes), SEEDS, [5] * len(SEEDS), words)


def test_a_training_is_its_optimizer_steps_times_the_rows_of_one():
    train = {"minSteps": 1, "hyperparameters": {"numTrainEpochs": 4, "effectiveBatchSize": 8}}
    assert (found(train=train).steps, found(train=train).train_tokens) == (20, 20 * 8 * 5)
    assert found(train=train | {"minSteps": 100}).train_tokens == 100 * 8 * 5


def test_a_round_has_at_most_so_many_rows_for_each_seed():
    teacher = builders.spec()["generate"]
    assert found(generate=teacher | {"examplesPerMistake": 3}).most_rows == 120
    assert found(generate=teacher | {"rowsPerRound": 7}).most_rows == 7


def test_a_row_is_as_long_as_a_seed_and_its_request_longer():
    assert found().row_tokens == 4
    assert found().request_tokens > 40


def test_the_sentence_tells_money_where_there_are_prices_and_a_budget_that_cannot_do():
    told = Estimate(100, 8000, rounds=2, most_rows=40, request_tokens=90, row_tokens=10)
    prices = {"prices": {"inputPerMillion": "10", "outputPerMillion": "100"}}
    assert describe_estimate(told, spec(budget=prices | {"maxTeacherTokens": 500})) == (
        "the first training takes 100 optimizer steps, 8000 tokens; 100 rows from the teacher take about 10000 tokens "
        "(0.19), and 2 rounds of 40 rows (the maximum) take about 8000 (0.15)"
    )
    assert (
        describe_estimate(Estimate(9, 8, 0, 40, 90, 10), spec())
        == "the first training takes 9 optimizer steps, 8 tokens"
    )


@pytest.mark.parametrize(
    ("budget", "rows", "told"),
    [
        pytest.param({"maxTeacherTokens": 999}, 10, "maxTeacherTokens (999) pays for about 9 of the teacher's rows, and the run may ask for 10", id="too few for all rows"),
        pytest.param({"maxTeacherTokens": 1000}, 10, "", id="enough for all rows, which are fewer than a hundred"),
        pytest.param({"maxTeacherTokens": 9999}, 500, "maxTeacherTokens (9999) pays for about 99 of the teacher's rows, and the run may ask for 500",
                     id="too few for a hundred of many rows"),
        pytest.param({"maxTeacherTokens": 10000}, 500, "", id="enough for a hundred of many rows"),
        pytest.param({"maxCost": "0.01"}, 10, "maxCost (0.01) pays for about 5 of the teacher's rows, and the run may ask for 10", id="too little money"),
        pytest.param({"maxCost": "0.02"}, 10, "", id="enough money"),
    ],
)  # fmt: skip
def test_a_budget_that_cannot_do_is_told_and_no_other(budget: dict[str, Any], rows: int, told: str):
    found = Estimate(1, 1, rounds=1, most_rows=rows, request_tokens=90, row_tokens=10)
    prices = {"inputPerMillion": "10", "outputPerMillion": "100"}  # 0.019 for ten rows
    sentence = budget_warning(found, spec(budget=budget | {"prices": prices}))
    assert sentence.removeprefix("warning: spec.budget.") == told
    assert budget_warning(replace(found, rounds=0), spec(budget=budget | {"prices": prices})) == ""


def test_probing_asks_a_quarter_of_the_seeds_and_trains_on_the_others():
    train = {"minSteps": 1, "hyperparameters": {"numTrainEpochs": 4, "effectiveBatchSize": 8}}
    probing = found(errorsFrom="Probe", train=train)
    assert (probing.most_rows, probing.steps) == (10, 15)


def test_rows_that_are_written_for_rows_that_were_written_have_no_known_most():
    told = describe_estimate(found(augmentFrom="SeedAndSynthetic"), spec(augmentFrom="SeedAndSynthetic"))
    assert "the maximum" not in told
