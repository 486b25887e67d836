"""Steps as processes: what a pod does, and what is left in the store whenever it ends."""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.data_plane.bench import Bench
from tests.support import keyword
from tests.support.commands import Command, start_script
from tests.support.steps import document_of

from llm2llm.api.data import Artifacts
from llm2llm.artifacts.committed import committed_manifest
from llm2llm.errors import ExitCode
from llm2llm.records import REPORT_LIMIT, Kind, Report, Stage
from llm2llm.runtime.context import Step, StepContext
from llm2llm.step import main_step, run_step
from llm2llm.storage import LocalStore, Store, open_store

LONG = {
    **keyword.TRAIN,
    "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 120},
    "checkpoint": {"intervalSeconds": 1, "keep": 2},
}
"""300 optimizer steps: some seconds, with several checkpoints."""
STEP = """
import os, sys
from llm2llm.step import main_step
from llm2llm.training.callback import CheckpointCallback

end = CheckpointCallback.on_step_end

def noted_end(self, args, state, control, **more):
    with open(os.environ["TRAINED_STEPS"], "a") as steps:
        print(state.global_step, file=steps)
    end(self, args, state, control, **more)

CheckpointCallback.on_step_end = noted_end
sys.exit(main_step(os.environ))
"""
"""A pod's process that also notes each optimizer step that it has done."""


@pytest.fixture
def bench(tmp_path: Path, student: Path) -> Bench:
    return Bench(tmp_path, student)


class Pods:
    """A run whose steps are processes, on a store that they open themselves."""

    def __init__(self, folder: Path, document: dict[str, Any], environ: dict[str, str]) -> None:
        self.run = keyword.Run(document)
        self.environ = environ
        self.folder = folder
        uri = f"{document['artifacts']['uri']}/team-a/run"
        self.store: Store = open_store(uri, Artifacts.model_validate(document["artifacts"]), environ)

    def environment(self, step: Step, pod_uid: str) -> dict[str, str]:
        return self.environ | {
            "LLM2LLM_STEP": document_of(step).to_environment().replace("\\u0024", "$"),
            "LLM2LLM_TERMINATION_PATH": str(self.folder / f"report-{pod_uid}.json"),
            "LLM2LLM_SCRATCH": str(self.folder / f"scratch-{pod_uid}"),
            "POD_UID": pod_uid,
        }

    def start(self, step: Step, pod_uid: str) -> Command:
        noted = {"TRAINED_STEPS": str(self.folder / f"steps-{pod_uid}"), "OMP_NUM_THREADS": "1"}
        environment = os.environ | self.environment(step, pod_uid) | noted
        return start_script(STEP, log=self.folder / f"{pod_uid}.log", env=environment)

    def trained(self, pod_uid: str) -> list[int]:
        """Optimizer steps that it has done."""
        steps = self.folder / f"steps-{pod_uid}"
        return [int(step) for step in steps.read_text().split("\n")[:-1]] if steps.exists() else []

    def newest_checkpoint(self) -> int:
        """The optimizer step of the newest checkpoint that is in the store as a whole."""
        keys = self.store.list("iterations/000/train/checkpoints/")
        markers = [json.loads(self.store.read(key)) for key in keys if key.endswith("/marker.json")]
        return max(marker["step"] for marker in markers)

    def resumed_from(self, pod_uid: str) -> int:
        found = re.search(r'"resumedFrom": ?(\d+)', self.log(pod_uid))
        assert found, self.log(pod_uid)
        return int(found[1])

    def log(self, pod_uid: str) -> str:
        return (self.folder / f"{pod_uid}.log").read_text()

    def report(self, pod_uid: str) -> Report:
        return Report.model_validate_json((self.folder / f"report-{pod_uid}.json").read_bytes())

    def context(self, pod_uid: str) -> StepContext:
        return StepContext(
            pod_uid=pod_uid, scratch=self.folder / f"scratch-{pod_uid}", environ=self.environ, progress=lambda _: None
        )

    def until_trained(self, process: Command, pod_uid: str, *, more: int) -> None:
        """Waits for so many optimizer steps after those that it has done by now."""
        goal = len(self.trained(pod_uid)) + more
        deadline = time.monotonic() + 120
        while len(self.trained(pod_uid)) < goal:
            assert process.alive(), self.log(pod_uid)
            assert time.monotonic() < deadline, self.log(pod_uid)
            time.sleep(0.01)

    def until_checkpoint(self, process: Command, pod_uid: str) -> None:
        deadline = time.monotonic() + 120
        while not any(key.endswith("marker.json") for key in self.store.list("iterations/000/train/checkpoints/")):
            assert process.alive(), self.log(pod_uid)
            assert time.monotonic() < deadline, self.log(pod_uid)
            time.sleep(0.02)


@pytest.fixture(params=["local", "s3"])
def pods(request: pytest.FixtureRequest, bench: Bench, s3: S3Server, bucket: Store) -> Pods:
    """A prepared run with long training: on a local folder, or with everything on a real S3 server."""
    if request.param == "local":
        document = bench.document(artifacts_uri=(bench.folder / "runs").as_uri(), train=LONG)
        pods = Pods(bench.folder, document, {})
    else:
        document = bench.document(train=LONG, **bench.uploaded(bucket, s3.endpoint))
        pods = Pods(bench.folder, document, s3.keys)
    pods.run.add(run_step(pods.run.step(Stage.PREPARE), pods.store, pods.context("prepare")))
    return pods


def uninterrupted(pods: Pods) -> str:
    """The digest of the same training without an interruption, in a store of its own."""
    store = LocalStore(pods.folder / "uninterrupted")
    run_step(pods.run.step(Stage.PREPARE), store, pods.context("reference"))
    return run_step(pods.run.step(Stage.TRAIN), store, pods.context("reference")).digest


@pytest.mark.turns("steps that are killed")
def test_fault_46_sigkill_costs_what_followed_the_last_checkpoint_and_changes_nothing_in_the_result(pods: Pods) -> None:
    step = pods.run.step(Stage.TRAIN)
    killed = pods.start(step, "pod-1")
    pods.until_checkpoint(killed, "pod-1")
    pods.until_trained(killed, "pod-1", more=random.randint(0, 40))
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert committed_manifest(pods.store, step) is None
    kept = pods.newest_checkpoint()
    second = pods.start(step, "pod-2")

    assert second.wait(timeout=300) == ExitCode.DONE, pods.log("pod-2")
    assert pods.resumed_from("pod-2") == kept
    assert pods.trained("pod-2") == list(range(kept + 1, 301))
    assert pods.report("pod-2").digest == uninterrupted(pods)


@pytest.mark.parametrize("pods", ["local"], indirect=True)
def test_fault_19_sigterm_leaves_a_checkpoint_and_exit_143(pods: Pods) -> None:
    step = pods.run.step(Stage.TRAIN)
    process = pods.start(step, "pod-1")
    pods.until_checkpoint(process, "pod-1")
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=30) == ExitCode.TERMINATED, pods.log("pod-1")
    report = pods.report("pod-1")
    assert (report.exit_code, report.reason) == (143, "Terminated")
    assert "a checkpoint is in the store" in report.message
    logs = list(pods.store.list("logs/"))
    assert logs == ["logs/i000-train-a0-pod-1.log"]
    assert b"a checkpoint is in the store" in pods.store.read(logs[0])


def test_fault_49_a_committed_step_costs_nothing_the_second_time(bench: Bench) -> None:
    run, store = bench.run("run")
    first = run_step(run.step(Stage.TRAIN), store, bench.context())
    later = keyword.Run(run.document, uid="fedcba9876543210")
    later.reports = run.reports
    context = bench.context("pod-2")
    store.write(
        "iterations/000/train/checkpoints/000003-pod-1/marker.json", b"left by a pod that was killed at its end"
    )
    again = run_step(later.step(Stage.TRAIN, attempt=3), store, context)
    assert list(store.list("iterations/000/train/checkpoints/")) == []

    assert again.digest == first.digest
    assert (again.run_uid, again.attempt, again.seconds) == (later.uid, 3, {})
    assert context.seconds == {}
    assert not [key for key in store.list("") if "pod-2" in key]


def test_fault_31_an_upload_without_its_manifest_counts_for_nothing(bench: Bench, bucket: Store) -> None:
    run = keyword.Run(bench.document())
    run.add(run_step(run.step(Stage.PREPARE), bucket, bench.context()))
    bucket.write("iterations/000/train/data/pod-0/adapter/adapter_model.safetensors", b"half")
    report = run_step(run.step(Stage.TRAIN), bucket, bench.context())

    assert "/pod-1/" in report.model_uri
    assert all(content != b"half" for content in keyword.adapter_bytes(bucket).values())


def test_collect_tells_what_is_committed_and_never_does_the_work(bench: Bench) -> None:
    run, store = bench.run("run")
    collect = run.step(Stage.TRAIN, kind=Kind.COLLECT)
    missing = run_step(collect, store, bench.context())
    done = run_step(run.step(Stage.TRAIN), store, bench.context())
    found = run_step(collect, store, bench.context())

    assert (missing.exit_code, missing.reason) == (ExitCode.TRANSIENT, "NotCommitted")
    assert (found.exit_code, found.digest) == (ExitCode.DONE, done.digest)


class Main:
    """main_step in this process, with SIGTERM's handler put back afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handler = signal.getsignal(signal.SIGTERM)

    def __call__(self, step: Step, **environ: str) -> tuple[int, Report]:
        path = self.folder / f"report-{secrets.token_hex(4)}"
        try:
            code = main_step(
                {
                    "LLM2LLM_STEP": document_of(step).to_environment(),
                    "LLM2LLM_TERMINATION_PATH": str(path),
                    "LLM2LLM_SCRATCH": str(self.folder / "scratch"),
                    **environ,
                }
            )
        finally:
            signal.signal(signal.SIGTERM, self.handler)
        assert len(path.read_bytes()) <= REPORT_LIMIT
        return code, Report.model_validate_json(path.read_bytes())


def test_every_failure_has_a_report_an_exit_code_and_a_log(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    document = bench.document(artifacts_uri=(bench.folder / "runs").as_uri())
    (bench.folder / "seed.jsonl").write_bytes(b"nonsense\n" * 5)
    code, report = Main(bench.folder)(keyword.Run(document).step(Stage.PREPARE))

    assert (code, report.exit_code, report.reason) == (65, 65, "InvalidData")
    assert "5 broken rows: lines 1, 2, 3, 4, 5: " in report.message
    assert "5 broken rows: lines 1, 2, 3, 4, 5: " in capsys.readouterr().err
    log = next((bench.folder / "runs").rglob("prepare-a0-*.log"))
    assert "5 broken rows" in log.read_text()


def test_an_unexpected_failure_is_transient_and_told_with_its_traceback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the key s3cr3t-value is odd")

    monkeypatch.setattr("llm2llm.stages.prepare.run", fail)
    document = bench.document(artifacts_uri=(bench.folder / "runs").as_uri())
    code, report = Main(bench.folder)(keyword.Run(document).step(Stage.PREPARE), TEACHER_API_KEY="s3cr3t-value")

    assert (code, report.reason) == (75, "UnexpectedError")
    assert report.message == "RuntimeError: the key *** is odd"
    assert "Traceback" in capsys.readouterr().err
    assert "s3cr3t-value" not in next((bench.folder / "runs").rglob("*.log")).read_text()


def test_fault_21_running_out_of_gpu_memory_tells_the_micro_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from llm2llm.training import loss

    def fail(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    document = bench.document(artifacts_uri=(bench.folder / "runs").as_uri())
    run, main = keyword.Run(document), Main(bench.folder)
    run.add(main(run.step(Stage.PREPARE))[1])
    monkeypatch.setattr(loss.TokenMean, "__call__", fail)
    code, report = main(run.step(Stage.TRAIN, micro_batch=8))

    assert (code, report.reason, report.micro_batch) == (69, "OutOfMemory", 8)
    assert "gradientCheckpointing" in report.message
