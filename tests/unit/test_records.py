from __future__ import annotations

import json
from typing import Any

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


METRIC = {"name": "accuracy", "dataset": "seed", "value": 0.5, "examples": 1, "low": 0.4, "high": 0.6}
PAIRED = {"against": 1, "dataset": "seed", "examples": 1, "gained": 0, "lost": 0}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"metrics": [METRIC] * 9}, id="nine metrics"),
        pytest.param({"metrics": [METRIC | {"name": "x" * 65}]}, id="the name of a metric"),
        pytest.param({"metrics": [METRIC | {"dataset": "x" * 33}]}, id="the name of a set"),
        pytest.param({"metrics": [METRIC | {"examples": 10**30}]}, id="the rows of a metric"),
        pytest.param({"paired": PAIRED | {"against": 10**30}}, id="a comparison"),
        pytest.param({"modelUri": "x" * 2049}, id="a URI"),
        pytest.param({"digest": "x" * 129}, id="a digest"),
        pytest.param({"resolved": {"modelRevision": "x" * 257}}, id="a revision"),
        pytest.param({"resolved": {"engine": "x" * 33}}, id="an engine"),
        pytest.param({"resolved": {"evaluationDigest": "x" * 129}}, id="another digest"),
        pytest.param({"resolved": {"seedCount": 2**63}}, id="a size"),
        pytest.param({"reason": "x" * 65}, id="a reason"),
        *(
            pytest.param({count: 2**63}, id=count)
            for count in [
                "learned",
                "forgotten",
                "trainExamples",
                "optimizerSteps",
                "mistakes",
                "generated",
                "kept",
                "microBatch",
            ]
        ),
    ],
)
def test_fault_53_a_report_says_no_more_than_the_status_has_room_for(fields: dict[str, Any]):
    document = json.loads(builders.report(Stage.TRAIN).to_json())
    assert Report.model_validate(document)
    with pytest.raises(ValidationError):
        Report.model_validate(document | fields)


def test_the_message_of_a_report_is_plain_text_whoever_wrote_it():
    document = json.loads(builders.report(Stage.TRAIN).to_json()) | {"message": "done\x1b[2J\nall \u202ewell"}
    assert Report.model_validate(document).message == "done all well"


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
