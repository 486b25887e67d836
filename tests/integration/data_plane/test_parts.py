"""An evaluation that is stopped goes on from what it had answered; with the engine's own batches and a fake clock."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.data_plane.bench import Bench, learned, predictions
from tests.support import keyword
from tests.support.steps import document_of

from llm2llm.api.data import Artifacts
from llm2llm.errors import Terminated
from llm2llm.records import Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.step import run_step
from llm2llm.storage import LocalStore, Store, open_store


@pytest.fixture
def bench(tmp_path: Path, student: Path) -> Bench:
    return Bench(tmp_path, student)


class Watched(LocalStore):
    """A store that notes how many answers each part had that was written to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kept: list[int] = []

    def write(self, key: str, data: bytes) -> None:
        super().write(key, data)
        if "/parts/" in key:
            self.kept.append(data.count(b"\n"))


class Attempts:
    """Attempts of one evaluation of 1,340 rows, each by a pod of its own; a batch of them takes some seconds."""

    def __init__(self, bench: Bench) -> None:
        (bench.folder / "evaluation.jsonl").write_bytes(keyword.jsonl(keyword.rows(65, 9)))
        self.bench = bench
        self.run, _ = learned(bench)
        self.watched = Watched(bench.folder / "run")
        self.store: Store = self.watched
        self.undisturbed = LocalStore(bench.folder / "undisturbed")
        shutil.copytree(bench.folder / "run", bench.folder / "undisturbed")

    def attempt(self, pod_uid: str, *, stop_after: int = 100, seconds: float = 1) -> list[dict[str, object]]:
        """What it told of its progress; a batch takes so many seconds, and SIGTERM comes after so many batches."""
        context, told = self.bench.context(pod_uid), list[dict[str, object]]()

        def batches() -> int:
            return sum("step" in event for event in told)

        def heard(event: Mapping[str, object]) -> None:
            told.append(dict(event))
            if batches() >= stop_after:
                context.stopping.set()

        context.progress = heard
        context.clock = lambda: batches() * seconds
        run_step(self.run.step(Stage.EVALUATE), self.store, context)
        return told

    def parts(self) -> list[str]:
        return list(self.store.list("iterations/000/evaluate/parts/"))

    def check(self) -> None:
        """The output is that of an evaluation in one go, and nothing else is left."""
        alone = run_step(self.run.step(Stage.EVALUATE), self.undisturbed, self.bench.context("alone"))
        assert run_step(self.run.step(Stage.EVALUATE), self.store, self.bench.context()).digest == alone.digest
        for name in ("seed", "evaluation"):
            assert predictions(self.store, self.run, name) == predictions(self.undisturbed, self.run, name)
        assert self.parts() == []


def evaluate_until_killed(step: str, uri: str, environ: dict[str, str], scratch: Path) -> None:
    """An attempt in a process of its own, which is killed after two batches of a minute each."""
    context, batches = StepContext(pod_uid="pod-1", scratch=scratch, environ=environ), list[object]()

    def heard(event: Mapping[str, object]) -> None:
        if "step" in event:
            batches.append(event)
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    context.progress = heard
    context.clock = lambda: len(batches) * 60
    store = open_store(uri, Artifacts(uri="s3://bucket"), environ)
    run_step(Step.of(StepDocument.model_validate_json(step)), store, context)


@pytest.fixture
def attempts(bench: Bench) -> Attempts:
    return Attempts(bench)


def test_fault_46_an_evaluation_that_was_stopped_goes_on_with_what_is_left(attempts: Attempts) -> None:
    with pytest.raises(Terminated, match="the answers so far are in the store"):
        attempts.attempt("pod-1", stop_after=1)
    assert len(attempts.parts()) == 1
    with pytest.raises(Terminated):
        attempts.attempt("pod-2", stop_after=1)
    told = attempts.attempt("pod-3")

    assert [event["answeredBefore"] for event in told if "answeredBefore" in event] == [1024]
    assert [(event["step"], event["steps"]) for event in told if "step" in event] == [(1340, 1340)]
    attempts.check()


def test_fault_46_an_evaluation_that_is_killed_goes_on_from_its_last_part(
    attempts: Attempts, bucket: Store, s3: S3Server, tmp_path: Path
) -> None:
    for key in attempts.store.list(""):
        bucket.write(key, attempts.store.read(key))
    attempts.store = bucket
    step = document_of(attempts.run.step(Stage.EVALUATE)).to_json()
    process = multiprocessing.get_context("spawn").Process(
        target=evaluate_until_killed, args=(step, bucket.uri, s3.environment, tmp_path / "killed")
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert len(attempts.parts()) == 1
    told = attempts.attempt("pod-2")

    assert [event["answeredBefore"] for event in told if "answeredBefore" in event] == [512]
    attempts.check()


def test_what_is_answered_is_kept_every_minute_and_told_batch_by_batch(attempts: Attempts) -> None:
    told = attempts.attempt("pod-1", seconds=60)

    assert [event["step"] for event in told if "step" in event] == [512, 1024, 1340]
    assert attempts.watched.kept == [512, 512]
    attempts.check()


def test_an_evaluation_of_less_than_a_minute_writes_nothing_on_the_way(attempts: Attempts) -> None:
    attempts.attempt("pod-1", seconds=29)

    assert attempts.watched.kept == []


def test_a_part_that_is_damaged_or_of_another_experiment_is_asked_again(attempts: Attempts) -> None:
    with pytest.raises(Terminated):
        attempts.attempt("pod-1", stop_after=2, seconds=60)
    first, second = attempts.parts()
    attempts.store.write(first, attempts.store.read(first)[:-20])
    attempts.store.write(f"iterations/000/evaluate/parts/{32 * '0'}/x.jsonl", attempts.store.read(second))
    told = attempts.attempt("pod-2")

    assert [event["answeredBefore"] for event in told if "answeredBefore" in event] == [512]
    attempts.store.delete(f"iterations/000/evaluate/parts/{32 * '0'}/x.jsonl")
    attempts.check()
