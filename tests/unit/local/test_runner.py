"""The local runner: which steps it runs, and before which it stops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api import AugmentationRunSpec
from llm2llm.errors import Terminated
from llm2llm.local.display import Lines
from llm2llm.local.documents import LocalRun
from llm2llm.local.runner import Runner
from llm2llm.records import Report, Stage, StepDocument
from llm2llm.stages.context import StepContext
from llm2llm.storage import Store


def steps_of(folder: Path, approval: Mapping[str, Any]) -> list[tuple[Stage, int]]:
    """Runs two iterations of stages that do nothing, until the end or a hold."""
    ran: list[tuple[Stage, int]] = []

    def execute(step: StepDocument, _: Store, __: StepContext) -> Report:
        ran.append((step.stage, step.iteration))
        scores = {"metrics": (builders.accuracy(0.5),), "mistakes": 5} if step.stage is Stage.EVALUATE else {}
        return Report(run_uid=step.run_uid, stage=step.stage, iteration=step.iteration, attempt=0, digest="d", **scores)

    document = builders.spec(maxIterations=2, approval=approval, artifacts={"uri": folder.as_uri()})
    run = LocalRun("r", "default", AugmentationRunSpec.model_validate(document))
    try:
        Runner(run, {}, {}, Lines(), execute=execute).complete()
    except Terminated as held:
        assert "set spec.approval.approvedRounds to 1" in held.message  # noqa: PT017 - what ran is what is told
    return ran


@pytest.mark.parametrize(
    ("approval", "trained"),
    [
        pytest.param({}, 2, id="nobody has to release anything"),
        pytest.param({"mode": "BeforeTraining"}, 1, id="new rows wait until a person has released them"),
        pytest.param({"mode": "BeforeTraining", "approvedRounds": 1}, 2, id="released rows are trained on"),
    ],
)
def test_approval_holds_a_local_run_before_it_trains_on_new_rows(
    approval: Mapping[str, Any], trained: int, tmp_path: Path
) -> None:
    ran = steps_of(tmp_path, approval)
    assert ran.count((Stage.GENERATE, 0)) == 1
    assert [iteration for stage, iteration in ran if stage is Stage.TRAIN] == list(range(trained))
