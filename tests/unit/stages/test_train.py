"""Which rows are trained on, and what the student's card says."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import DataError
from llm2llm.records import Report, Stage
from llm2llm.stages.train import _drop_long_rows, _model_card
from llm2llm.training.data import TokenizedRow

ROWS = [TokenizedRow(str(length), [1] * length, 1) for length in (10, 11, 12)]


def spec(max_length: int = 64, **changes: Any) -> AugmentationRunSpec:
    train = {"hyperparameters": {"maxLength": max_length}, **changes}
    return AugmentationRunSpec.model_validate(builders.spec(train=train))


@pytest.mark.parametrize(
    ("max_length", "context", "kept", "message"),
    [
        pytest.param(12, 0, ["10", "11", "12"], "", id="all fit, and the model tells no limit"),
        pytest.param(11, 0, ["10", "11"], "1 synthetic rows are left out of training: they have more than 11 tokens", id="maxLength"),
        pytest.param(64, 10, ["10"], "2 synthetic rows are left out of training: they have more than 10 tokens", id="the model's context"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_left_out_and_counted(
    max_length: int, context: int, kept: list[str], message: str
) -> None:
    rows, told = _drop_long_rows(ROWS, spec(max_length), context)
    assert [row.id for row in rows] == kept
    assert told.partition(", the limit")[0] == message


def test_a_set_of_which_no_row_fits_is_bad_data() -> None:
    with pytest.raises(DataError, match=r"no row fits within train\.hyperparameters\.maxLength .*\(9 tokens\)"):
        _drop_long_rows(ROWS, spec(), 9)


@pytest.mark.parametrize(
    ("method", "relation", "library"),
    [("LoRA", "adapter", "peft"), ("QLoRA", "adapter", "peft"), ("Full", "finetune", "transformers")],
)
def test_a_card_says_how_the_student_is_loaded_and_asked(method: str, relation: str, library: str) -> None:
    report = Report(run_uid="u", stage=Stage.TRAIN, iteration=1, train_examples=60, optimizer_steps=7)
    card = _model_card(spec(method=method), report, chat=False)

    assert card.startswith(
        f'---\nbase_model: "s3://b/model"\nbase_model_relation: {relation}\nlibrary_name: {library}\n---\n'
    )
    assert "iteration 1 of an LLM2LLM run: 60 examples, 7 optimizer steps, random seed 0" in card
    assert "chat template" not in card
    assert "as the user's turn of the tokenizer's chat template" in _model_card(spec(method=method), report, chat=True)
