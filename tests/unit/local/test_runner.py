"""The local runner: which steps it runs, and before which it stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.commit import commit
from llm2llm.errors import DataError, IncompatibleArtifacts, Terminated
from llm2llm.local.display import Lines
from llm2llm.local.runner import Runner
from llm2llm.manifests.documents import LocalRun
from llm2llm.records import Report, Stage
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import Store


def runner(folder: Path, execute: Callable[[Step, Store, StepContext], Report], **changes: Any) -> Runner:
    """Of a run of two iterations that keeps its artifacts in `folder`."""
    document = builders.spec(artifacts={"uri": folder.as_uri()}, **changes)
    return Runner(
        LocalRun("r", "default", AugmentationRunSpec.model_validate(document)), {}, {}, Lines(), execute=execute
    )


def steps_of(folder: Path, approval: Mapping[str, Any]) -> list[tuple[Stage, int]]:
    """Runs two iterations of stages that do nothing, until the end or a hold."""
    ran: list[tuple[Stage, int]] = []

    def execute(step: Step, _: Store, __: StepContext) -> Report:
        ran.append((step.stage, step.iteration))
        scores = {"metrics": (builders.accuracy(0.5),), "mistakes": 5} if step.stage is Stage.EVALUATE else {}
        return Report(run_uid=step.run_uid, stage=step.stage, iteration=step.iteration, attempt=0, digest="d", **scores)

    try:
        runner(folder, execute, approval=approval).complete()
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


def test_a_field_may_be_mended_as_long_as_prepare_refused_the_run(tmp_path: Path) -> None:
    wrong = {"seed": {"uri": "s3://b/seed.jsonl", "fields": {"prompt": "text", "completion": "label"}}}
    right = {"seed": {"uri": "s3://b/seed.jsonl", "fields": {"prompt": "question", "completion": "answer"}}}

    def refuse(_: Step, __: Store, ___: StepContext) -> Report:
        raise DataError("no field 'text'")

    def prepare(step: Step, store: Store, context: StepContext) -> Report:
        if step.stage is Stage.TRAIN:
            raise Terminated("far enough")
        return commit(store, step, context, {}, builders.report(step.stage))

    with pytest.raises(DataError):
        runner(tmp_path, refuse, data=wrong).complete()
    with pytest.raises(Terminated, match="far enough"):
        runner(tmp_path, prepare, data=right).complete()
    with pytest.raises(IncompatibleArtifacts, match=r"spec\.data\.seed\.fields\.prompt"):
        runner(tmp_path, prepare, data=wrong).complete()


def test_what_a_step_tells_of_its_progress_is_shown_without_passwords(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "https://me:pa55word@gateway/v1"

    def tell(_: Step, __: Store, context: StepContext) -> Report:
        context.progress({"message": f"{address} is slow"})
        raise Terminated("far enough")

    generate = {"teacher": {"model": "m", "baseUrl": address}}
    with pytest.raises(Terminated):
        runner(tmp_path, tell, generate=generate).complete()
    shown = capsys.readouterr().out
    assert "gateway/v1 is slow" in shown
    assert "pa55word" not in shown


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        pytest.param({"maxTeacherTokens": 1000}, False, id="of tokens"),
        pytest.param({"maxGPUHours": "1"}, True, id="of GPU hours"),
        pytest.param({"maxCost": "1", "prices": {"gpuHour": "2"}}, True, id="of money that GPUs cost"),
    ],
)
def test_that_gpu_time_is_not_counted_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: dict[str, Any], told: bool
) -> None:
    def refuse(_: Step, __: Store, ___: StepContext) -> Report:
        raise Terminated("far enough")

    with pytest.raises(Terminated):
        runner(tmp_path, refuse, budget=budget).complete()
    assert ("GPU time is not counted" in capsys.readouterr().out) == told


def test_fewer_iterations_than_are_done_change_neither_the_best_one_nor_what_is_done(tmp_path: Path) -> None:
    ran: list[tuple[Stage, int]] = []

    def execute(step: Step, store: Store, context: StepContext) -> Report:
        ran.append((step.stage, step.iteration))
        scores = {"metrics": (builders.accuracy(0.5 + step.iteration / 10),), "mistakes": 5}
        evaluated = scores if step.stage is Stage.EVALUATE else {}
        return commit(store, step, context, {}, builders.report(step.stage, step.iteration, **evaluated))

    four = runner(tmp_path, execute, maxIterations=4).complete()
    assert four.best is not None
    assert four.best.iteration == 3
    done = list(ran)
    two = runner(tmp_path, execute, maxIterations=2).complete()
    assert (two.best, ran) == (four.best, done)
    assert two.finished.message == "all 2 iterations are done"
