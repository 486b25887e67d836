"""A step that another run has done already is copied, as this run's own and free of charge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import manifest_in, read_object
from llm2llm.artifacts.reuse import copy_from_reused_run
from llm2llm.records import Report, Stage, StepDocument, Usage
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import LocalStore


def step(stage: Stage, run: str, **changes: Any) -> Step:
    return Step.of(StepDocument(stage=stage, namespace="ns", run=run, run_uid=run, spec=builders.spec(**changes)))


def copy_of(folder: Path, stage: Stage, **changes: Any) -> Report | None:
    """What a run tells of a step that the run beside it has committed, with these changes to its spec."""
    other = LocalStore(folder / "other")
    told = Report(
        run_uid="other",
        stage=stage,
        kept=7,
        model_uri=f"{other.uri}/adapter" if stage is Stage.TRAIN else "",
        usage=Usage(teacher_requests=9, teacher_input_tokens=90, teacher_output_tokens=900),
    )
    commit(other, step(stage, "other"), StepContext("pod-a", folder), {"rows.jsonl": b"{}"}, told)
    context = StepContext("pod-b", folder, progress=lambda _: None)
    again = step(stage, "again", reuseFrom=[{"uri": other.uri}], **changes)
    return copy_from_reused_run(again, LocalStore(folder / "again"), context)


@pytest.mark.parametrize("stage", [Stage.TRAIN, Stage.EVALUATE, Stage.GENERATE])
def test_a_copy_is_this_runs_own_and_costs_nothing(tmp_path: Path, stage: Stage):
    report = copy_of(tmp_path, stage)
    store = LocalStore(tmp_path / "again")
    assert report is not None
    assert (report.run_uid, report.kept, report.usage) == ("again", 7, Usage())
    assert report.model_uri.startswith(store.uri) == (stage is Stage.TRAIN)
    assert bool(report.model_uri) == (stage is Stage.TRAIN)
    assert report.message == f"copied from {(tmp_path / 'other').as_uri()}"
    manifest = manifest_in(store, f"iterations/000/{stage.value.lower()}")
    assert manifest is not None
    assert read_object(store, manifest, "rows.jsonl") == b"{}"


def test_another_experiments_output_is_not_copied(tmp_path: Path):
    assert copy_of(tmp_path, Stage.TRAIN, randomSeed=7) is None


def test_prepare_is_never_copied(tmp_path: Path):
    assert copy_of(tmp_path, Stage.PREPARE) is None
