"""A step as its stage gets it, and what its context counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.support import builders

from llm2llm.loop.outcomes import StepId
from llm2llm.records import Kind, Report, Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext, print_progress


def document(stage: Stage = Stage.EVALUATE, **changes: object) -> StepDocument:
    fields = {"namespace": "team-a", "run": "r", "run_uid": "0123456789abcdef", "stage": stage, "spec": builders.spec()}
    return StepDocument.model_validate(fields | changes)


def test_a_step_is_its_document_with_the_spec_parsed() -> None:
    step = Step.of(
        document(iteration=3, attempt=2, kind=Kind.COLLECT, parents={"inputs": "p"}, micro_batch=4, gpu_seconds=60)
    )

    assert step.spec.max_iterations == 2
    assert (step.iteration, step.attempt, step.kind, step.parents) == (3, 2, Kind.COLLECT, {"inputs": "p"})
    assert (step.micro_batch, step.gpu_seconds) == (4, 60)
    assert (step.id, step.folder) == (StepId(Stage.EVALUATE, 3), "iterations/003/evaluate")
    assert step.root == "s3://b/runs/team-a/r-01234567"


def test_a_document_whose_spec_cannot_be_read_is_no_step() -> None:
    with pytest.raises(ValidationError):
        Step.of(document(spec={"maxIterations": "many"}))


def test_a_step_has_the_image_and_the_deadlines_of_its_own_stage() -> None:
    changes = {"evaluate": {"progressDeadlineSeconds": 111}, "train": {"progressDeadlineSeconds": 222}}
    spec = builders.spec(**changes)

    assert Step.of(document(Stage.EVALUATE, spec=spec)).block.progress_deadline_seconds == 111
    assert Step.of(document(Stage.TEST, spec=spec)).block.progress_deadline_seconds == 111
    assert Step.of(document(Stage.TRAIN, spec=spec)).block.progress_deadline_seconds == 222


def test_a_report_that_is_made_from_its_address_is_of_this_attempt() -> None:
    report = Report(**Step.of(document(iteration=3, attempt=2)).address)

    assert (report.run_uid, report.stage, report.iteration, report.attempt) == (
        "0123456789abcdef", Stage.EVALUATE, 3, 2,
    )  # fmt: skip


def test_seconds_add_up_by_part_also_where_a_part_fails() -> None:
    times = iter([10.0, 12.5, 20.0, 20.25, 30.0, 31.0])
    context = StepContext("pod", Path("unused"), clock=lambda: next(times))
    with context.timed("load"):
        pass
    with context.timed("compute"):
        pass
    with pytest.raises(RuntimeError), context.timed("load"):
        raise RuntimeError("no space")

    assert context.seconds == {"load": 3.5, "compute": 0.25}


def test_progress_is_a_line_of_json_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    print_progress({"stage": "Train", "message": "two\nlines"})

    out = capsys.readouterr().out
    assert json.loads(out) == {"stage": "Train", "message": "two\nlines"}
    assert out.count("\n") == 1
