"""A step that another run has done already is copied, as this run's own and free of charge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import manifest_in, read_object
from llm2llm.artifacts.reuse import copy_from_reused_run, read_reused_answers
from llm2llm.records import Report, Stage, StepDocument, Usage, to_jsonl
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import LocalStore
from llm2llm.teacher.ledger import LedgerRecord


def step(stage: Stage, run: str, **changes: Any) -> Step:
    return Step.of(StepDocument(stage=stage, namespace="ns", run=run, run_uid=run, spec=builders.spec(**changes)))


def copy_of(folder: Path, stage: Stage, *, fits: bool = True, **changes: Any) -> Report | None:
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
    return copy_from_reused_run(again, LocalStore(folder / "again"), context, lambda *_: fits)


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


def test_an_output_that_differs_in_what_its_key_lacks_is_not_copied(tmp_path: Path):
    assert copy_of(tmp_path, Stage.GENERATE, fits=False) is None
    assert list(LocalStore(tmp_path / "again").list("")) == []


def test_prepare_is_never_copied(tmp_path: Path):
    assert copy_of(tmp_path, Stage.PREPARE) is None


FOLDER = "iterations/000/generate"


def record(key: str, text: str, finish: str = "stop") -> LedgerRecord:
    return LedgerRecord(key=key, iteration=0, seed="s", sample=1, wave=0, model="m", text=text, finish=finish)


def test_what_another_runs_endpoint_refused_is_no_answer_and_hides_none(tmp_path: Path):
    other = LocalStore(tmp_path / "other")
    first = [record("a", "that is odd", "refused"), record("b", "that is odd", "refused"), record("c", "", "length")]
    other.write(f"{FOLDER}/ledger/pod-a/000000.jsonl", to_jsonl(first))
    other.write(f"{FOLDER}/ledger/pod-b/000000.jsonl", to_jsonl([record("a", "a row")]))
    again = step(Stage.GENERATE, "again", reuseFrom=[{"uri": other.uri}])
    reused = read_reused_answers(again, StepContext("pod-b", tmp_path))
    assert {key: answer.text for key, answer in reused.by_key.items()} == {"a": "a row", "c": ""}
    assert reused.finished_round(["a"]) is None


def test_a_finished_round_is_what_was_judged_in_it_with_its_refusals(tmp_path: Path):
    other, made = LocalStore(tmp_path / "other"), step(Stage.GENERATE, "other")
    other.write(f"{FOLDER}/ledger/pod-a/000000.jsonl", to_jsonl([record("a", "another pod's answer")]))
    judged = {"ledger.jsonl": to_jsonl([record("a", "a row"), record("b", "that is odd", "refused")])}
    commit(other, made, StepContext("pod-b", tmp_path), judged, Report(run_uid="other", stage=Stage.GENERATE))
    again = step(Stage.GENERATE, "again", reuseFrom=[{"uri": other.uri}])
    reused = read_reused_answers(again, StepContext("pod-b", tmp_path))
    assert {key: answer.text for key, answer in reused.by_key.items()} == {"a": "a row"}
    assert reused.finished_round(["a", "c"]) is None
    assert reused.finished_round([]) is None
    round_ = reused.finished_round(["a", "b"])
    assert round_ is not None
    assert {key: answer.text for key, answer in round_.items()} == {"a": "a row", "b": "that is odd"}
