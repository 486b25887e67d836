from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import builders

from llm2llm.artifacts.commit import commit
from llm2llm.errors import MetricInvalid
from llm2llm.loop.stages import INPUTS
from llm2llm.records import Report, Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages import test as stage
from llm2llm.storage import LocalStore


@pytest.mark.parametrize("files", [{}, {"test.jsonl": b""}], ids=["no test set", "an empty one"])
def test_a_test_set_without_rows_has_no_score_and_loads_no_student(tmp_path: Path, files: dict[str, bytes]) -> None:
    def step(stage: Stage, parents: dict[str, str]) -> Step:
        fields = {"namespace": "ns", "run": "r", "run_uid": "u", "spec": builders.spec()}
        return Step.of(StepDocument.model_validate(fields | {"stage": stage, "parents": parents}))

    store, context = LocalStore(tmp_path), StepContext("pod", tmp_path)
    inputs = commit(store, step(Stage.PREPARE, {}), context, files, Report(run_uid="u", stage=Stage.PREPARE))
    with pytest.raises(MetricInvalid, match="the test set has no rows"):
        stage.run(step(Stage.TEST, {INPUTS: inputs.digest}), store, context)
