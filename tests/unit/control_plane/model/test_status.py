from __future__ import annotations

import json

from tests.support.world import longest_status

from llm2llm_operator.model.status import RunStatus


def test_fault_40_a_status_of_64_iterations_stays_below_128_kib():
    status = longest_status()
    assert len(status["iterations"]) == 64
    assert len(json.dumps(status)) < 128 * 1024
    assert max(len(json.dumps(row)) for row in status["iterations"]) < 2048


def test_fault_41_fields_that_a_newer_operator_wrote_are_kept():
    status = RunStatus.model_validate(
        {"phase": "Running", "fromTheFuture": {"a": 1}, "iterations": [{"index": 0, "x": 2}]}
    )
    written = status.model_dump(mode="json", by_alias=True)
    assert written["fromTheFuture"] == {"a": 1}
    assert written["iterations"][0]["x"] == 2
