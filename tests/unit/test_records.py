from __future__ import annotations

import json

import pytest
from pydantic import ValidationError
from tests.support import builders

from llm2llm.records import REPORT_LIMIT, Metric, Report, Stage, canonical_json


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_fault_38_a_metric_that_is_no_share_is_refused(value: float):
    with pytest.raises(ValidationError):
        Metric(name="accuracy", dataset="seed", value=value, examples=1, low=0, high=1)


def test_a_report_with_nan_in_its_json_is_refused():
    text = builders.report(Stage.EVALUATE).to_json().replace('"value":0.7', '"value":NaN')
    assert "NaN" in text
    with pytest.raises(ValidationError):
        Report.model_validate_json(text)


@pytest.mark.parametrize("length", [0, 500, 1500, 2048])
def test_a_report_fits_into_a_termination_message_whatever_it_says(length: int):
    report = builders.report(Stage.PREPARE, message="é" * length, seconds={f"part{n}": 1.0 for n in range(60)})
    text = report.to_termination_message()
    assert len(text.encode()) <= REPORT_LIMIT
    assert Report.model_validate_json(text).digest == report.digest


def test_fields_of_a_newer_writer_are_ignored():
    document = json.loads(builders.report(Stage.TRAIN).to_json()) | {"fromTheFuture": 1}
    assert Report.model_validate(document).stage is Stage.TRAIN


def test_equal_values_have_equal_bytes():
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1})
