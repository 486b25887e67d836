"""A field that was renamed is read under both names: from reports of older images, from statuses of older operators."""

from __future__ import annotations

import json

import pytest
from tests.support import builders

from llm2llm.records import Manifest, Report, Stage, output_digest
from llm2llm_crdgen.crd import custom_resource_definition
from llm2llm_operator.model.status import RunStatus


@pytest.mark.parametrize("name", ["learned", "learnt"])
def test_a_report_and_a_manifest_are_read_under_both_names(name: str):
    document = json.loads(builders.report(Stage.EVALUATE, 1).to_json())
    document.pop("learned", None)
    report = Report.model_validate_json(json.dumps(document | {name: 3}))
    assert report.learned == 3
    assert json.loads(report.to_json())["learned"] == 3
    digest = output_digest(())
    manifest = {"contentKey": "k", "keyFields": {}, "parents": {}, "objects": [], "digest": digest}
    read = Manifest.model_validate(manifest | {"report": document | {name: 3, "digest": digest}})
    assert read.report.learned == 3


@pytest.mark.parametrize("name", ["learned", "learnt"])
def test_a_status_is_read_under_both_names_and_written_under_the_new_one(name: str):
    status = RunStatus.model_validate({"iterations": [{"index": 0, name: 3}]})
    assert status.iterations[0].learned == 3
    [row] = status.to_document()["iterations"]
    assert row["learned"] == 3
    assert "learnt" not in row


def test_the_api_server_keeps_a_stored_status_under_the_former_name():
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    row = schema["properties"]["status"]["properties"]["iterations"]["items"]["properties"]
    assert row["learnt"]["type"] == row["learned"]["type"] == "integer"
