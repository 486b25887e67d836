"""Task, rows and model in a spec; what the API server refuses as well is in tests/data/manifests."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm2llm.api.data import Data, HeldOutSource, Task, folded

CHOICE = {"promptTemplate": "x", "grader": {"type": "Choice"}}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        pytest.param(["yes", "no"], "", id="they differ"),
        pytest.param(["yes", " YES "], "'yes' and ' YES ' are the same label", id="in case and margins alone"),
        pytest.param(["new york", "New  York"], "'new york' and 'New  York' are the same label", id="in a blank alone"),
        pytest.param(
            ["strasse", "Stra\N{LATIN SMALL LETTER SHARP S}e"], "are the same label", id="in a letter that folds to two"
        ),
        pytest.param(["yes", "\t"], "must not contain a blank label", id="one is blank"),
        pytest.param([], "must not be empty if grader.type is Choice", id="none"),
    ],
)
def test_labels_of_a_choice(labels: list[str], words: str):
    if not words:
        assert Task.model_validate(CHOICE | {"labels": labels}).labels == labels
        return
    with pytest.raises(ValidationError, match=words):
        Task.model_validate(CHOICE | {"labels": labels})


@pytest.mark.parametrize(
    ("task", "labeled"),
    [
        pytest.param({"preset": "SST2"}, True, id="a preset with labels"),
        pytest.param({"preset": "GSM8K"}, False, id="a preset with numbers"),
        pytest.param(CHOICE | {"labels": ["a"]}, True, id="a choice"),
        pytest.param({"promptTemplate": "x", "labels": ["a"]}, False, id="labels that no grader uses"),
    ],
)
def test_scores_by_class_need_a_set_of_labels(task: dict[str, Any], labeled: bool):
    assert Task.model_validate(task).labeled == labeled


def test_labels_are_compared_without_case_and_margins():
    assert folded(" New\n York ") == folded("new york")


def test_sets_come_seed_first_and_only_those_that_the_run_has():
    seed, held_out = {"uri": "s3://b/seed.csv"}, {"fromSeed": {"count": 3}}
    data = Data.model_validate({"test": held_out, "seed": seed})
    assert list(data.sources()) == ["seed", "test"]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        pytest.param({"fields": {"a": "b"}}, "fields", id="a mapping"),
        pytest.param({"sample": {"count": 2}}, "sample", id="a sample"),
    ],
)
def test_rows_held_out_of_the_seed_set_have_no_file_whose_columns_or_rows_could_be_chosen(
    source: dict[str, Any], path: str
):
    with pytest.raises(ValidationError) as refused:
        HeldOutSource.model_validate(source | {"fromSeed": {"fraction": "0.2"}})
    assert refused.value.errors()[0]["loc"] == (path,)
    assert HeldOutSource.model_validate(source | {"uri": "s3://b/rows.csv"}).uri
