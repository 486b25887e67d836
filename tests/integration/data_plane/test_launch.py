"""One training in two processes: the same losses and weights as in one, and every way that they can end."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.data_plane.bench import Bench
from tests.integration.data_plane.test_step import LONG, Pods
from tests.support import keyword
from tests.support.commands import Command

from llm2llm.api.stages import Train
from llm2llm.errors import AuthenticationError, ExitCode, GpuOutOfMemory
from llm2llm.podenv import TRAIN_PROCESSES
from llm2llm.records import Stage
from llm2llm.runtime.logs import tee_output
from llm2llm.runtime.masking import Masker
from llm2llm.step import run_step
from llm2llm.storage import LocalStore
from llm2llm.training.callback import Hooks
from llm2llm.training.data import TokenizedRow
from llm2llm.training.launch import train_in_processes
from llm2llm.training.ranks import Ranks
from llm2llm.training.run import TrainingJob, load_model, train

SECRET = "s3cr3t-0f-my-0wn-hub-42"
MASK = Masker({"HF_TOKEN": SECRET})


def hooks() -> Hooks:
    return Hooks(lambda *_: Future(), threading.Event(), lambda _: None, time.monotonic, 300)


def rows_of_many_lengths(count: int) -> list[TokenizedRow]:
    rng = random.Random(0)
    rows = []
    for number in range(count):
        ids = [rng.randrange(3, len(keyword.WORDS)) for _ in range(rng.randrange(4, 40))]
        rows.append(TokenizedRow(str(number), ids, rng.randrange(1, len(ids))))
    return rows


def job(folder: Path, base: Path, method: str, micro_batch: int, batch: int) -> TrainingJob:
    document: dict[str, Any] = {
        "method": method,
        "hyperparameters": {**keyword.HYPERPARAMETERS, "effectiveBatchSize": batch, "numTrainEpochs": 2},
        "minSteps": 1,
    }
    if method != "Full":
        document["lora"] = {"r": 8, "alpha": 16, "dropout": "0"}
    return TrainingJob(
        base=base,
        start=None,
        rows=rows_of_many_lengths(23),
        train=Train.model_validate(document),
        seed=0,
        micro_batch=micro_batch,
        resume=None,
        scratch=folder / "scratch",
        target=folder / "student",
        model_uri="file:///base",
        revision="1",
        trusted=False,
    )


def weights(trained: TrainingJob) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(next(trained.target.glob("*.safetensors")))


@pytest.mark.turns("ranks that train")
@pytest.mark.parametrize(
    ("method", "micro_batch", "batch"),
    [
        pytest.param("LoRA", 16, 6, id="LoRA"),
        pytest.param("LoRA", 2, 5, id="a step that cannot be divided evenly"),
        pytest.param("LoRA", 1, 1, id="fewer rows than processes"),
        pytest.param("QLoRA", 2, 6, id="QLoRA"),
        pytest.param("Full", 2, 6, id="Full"),
    ],
)
def test_two_processes_have_the_losses_and_weights_of_one(
    tmp_path: Path, student: Path, method: str, micro_batch: int, batch: int
) -> None:
    import torch

    alone = job(tmp_path / "one", student, method, micro_batch, batch)
    together = job(tmp_path / "two", student, method, micro_batch, batch)
    one = train(alone, load_model(alone), hooks(), Ranks())
    two = train_in_processes(together, hooks(), 2, MASK)

    assert two.outcome.steps == one.outcome.steps == len(one.outcome.losses)
    assert two.outcome.losses == pytest.approx(one.outcome.losses, abs=1e-4)
    assert one.outcome.losses[0] > one.outcome.losses[-1]
    mine, theirs = weights(alone), weights(together)
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-4) for name in mine)


@dataclass(frozen=True)
class TooLarge:
    """A row that one rank has no memory for once it is put into a batch."""

    id: str
    numbers: list[int]
    prompt: int
    looks: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        import torch

        self.looks.append(1)
        # The first look is for its length; the trial whether rows stay apart takes no gradient.
        if os.environ.get("RANK") == "1" and len(self.looks) > 1 and torch.is_grad_enabled():
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.numbers


@pytest.mark.turns("ranks that end")
def test_fault_21_one_rank_without_memory_ends_all_and_tells_the_micro_batch(tmp_path: Path, student: Path) -> None:
    whole = job(tmp_path, student, "LoRA", 2, 8)
    heavy: Any = [TooLarge(row.id, row.ids, row.prompt) for row in whole.rows]

    with pytest.raises(GpuOutOfMemory, match="a micro-batch of 2") as told:
        train_in_processes(replace(whole, rows=heavy), hooks(), 2, MASK)
    assert told.value.micro_batch == 2


@pytest.mark.turns("ranks that end")
def test_a_checkpoint_that_the_store_refuses_ends_all(tmp_path: Path, student: Path) -> None:
    def refused(*_: object) -> Future[None]:
        upload: Future[None] = Future()
        upload.set_exception(AuthenticationError("the bucket refused the credentials"))
        return upload

    with pytest.raises(AuthenticationError, match="refused the credentials"):
        train_in_processes(job(tmp_path, student, "LoRA", 2, 8), replace(hooks(), save=refused, interval=0), 2, MASK)


@pytest.mark.turns("ranks that end")
def test_both_processes_wait_for_a_checkpoint_that_would_come_too_late(tmp_path: Path, student: Path) -> None:
    """With an interval that every step exceeds: the next one begins once the checkpoint is there."""
    upload: Future[None] = Future()
    upload.set_result(None)
    under_way, steps = [], []

    def save(_: Path, step: int, __: int) -> Future[None]:
        nonlocal upload
        under_way.append(not upload.done())
        steps.append(step)
        upload = Future()
        threading.Timer(0.5, upload.set_result, [None]).start()
        return upload

    trained = train_in_processes(job(tmp_path, student, "LoRA", 2, 8), replace(hooks(), save=save, interval=0), 2, MASK)
    assert steps == list(range(1, trained.planned_steps))
    assert not any(under_way)


@dataclass(frozen=True)
class Talking:
    """A row that prints a secret in every rank, through Python and as a library in C does."""

    id: str
    numbers: list[int]
    prompt: int

    @property
    def ids(self) -> list[int]:
        rank = os.environ.get("RANK")
        if rank is not None:
            print(f"rank {rank} prints {SECRET}")
            os.write(2, f"rank {rank} writes {SECRET}\n".encode())
        return self.numbers


@pytest.mark.turns("ranks that end")
def test_what_the_ranks_print_is_in_the_log_and_masked(
    tmp_path: Path, student: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = job(tmp_path, student, "LoRA", 2, 8)
    talking: Any = [Talking(row.id, row.ids, row.prompt) for row in whole.rows]

    with tee_output(MASK) as log:
        train_in_processes(replace(whole, rows=talking), hooks(), 2, MASK)
    printed = log.encode().decode()
    assert {f"rank {rank} {does} ***" for rank in (0, 1) for does in ("prints", "writes")} <= {
        line.partition(":")[2] for line in printed.splitlines()
    }
    seen = capfd.readouterr()
    assert "***" in seen.out
    assert "***" in seen.err
    assert SECRET not in seen.out + seen.err + printed


class TwoProcesses(Pods):
    """Pods whose training runs in two processes."""

    def children(self, process: Command) -> list[int]:
        """The ranks: what the pod's process started, but for the tracker of its semaphores."""
        found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [int(pid) for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def pods(tmp_path: Path, student: Path) -> TwoProcesses:
    bench = Bench(tmp_path, student)
    document = bench.document(artifacts_uri=(bench.folder / "runs").as_uri(), train=LONG)
    pods = TwoProcesses(bench.folder, document, {TRAIN_PROCESSES: "2"})
    pods.run.add(run_step(pods.run.step(Stage.PREPARE), pods.store, pods.context("prepare")))
    return pods


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.turns("ranks that end")
def test_fault_19_sigterm_reaches_all_processes_and_the_next_pod_ends_as_if_nothing_had_happened(
    pods: TwoProcesses,
) -> None:
    step = pods.run.step(Stage.TRAIN)
    process = pods.start(step, "pod-1")
    pods.until_checkpoint(process, "pod-1")
    ranks = pods.children(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == ExitCode.TERMINATED, pods.log("pod-1")
    second = pods.start(step, "pod-2")
    assert second.wait(timeout=300) == ExitCode.DONE, pods.log("pod-2")
    store = LocalStore(pods.folder / "uninterrupted")
    run_step(pods.run.step(Stage.PREPARE), store, pods.context("reference"))
    whole = run_step(step, store, pods.context("reference"))

    assert len(ranks) == 2
    assert gone(ranks)
    assert "a checkpoint is in the store" in pods.report("pod-1").message
    assert '"resumedFrom":' in pods.log("pod-2")
    assert pods.report("pod-2").digest == whole.digest
    assert whole.micro_batch == 8


@pytest.mark.turns("ranks that end")
def test_a_sigterm_to_all_processes_alike_costs_no_steps(pods: TwoProcesses) -> None:
    """So do Slurm and systemd end what they started."""
    process = pods.start(pods.run.step(Stage.TRAIN), "pod-1")
    pods.until_checkpoint(process, "pod-1")
    for pid in (*pods.children(process), process.pid):
        os.kill(pid, signal.SIGTERM)

    assert process.wait(timeout=60) == ExitCode.TERMINATED, pods.log("pod-1")
    assert "a checkpoint is in the store" in pods.report("pod-1").message


@pytest.mark.turns("ranks that end")
@pytest.mark.parametrize("rank", [0, 1])
def test_the_death_of_a_process_ends_the_step_to_be_tried_again(pods: TwoProcesses, rank: int) -> None:
    process = pods.start(pods.run.step(Stage.TRAIN), "pod-1")
    pods.until_checkpoint(process, "pod-1")
    ranks = pods.children(process)
    os.kill(ranks[rank], signal.SIGKILL)

    assert process.wait(timeout=60) == ExitCode.TRANSIENT, pods.log("pod-1")
    assert pods.report("pod-1").reason == "Transient"
    assert f"process of rank {rank} died (SIGKILL)" in pods.report("pod-1").message
    assert gone(ranks)
    assert not list(pods.store.list("iterations/000/train/manifest"))


@pytest.mark.turns("ranks that end")
def test_no_process_outlives_a_pod_that_is_killed(pods: TwoProcesses) -> None:
    process = pods.start(pods.run.step(Stage.TRAIN), "pod-1")
    pods.until_checkpoint(process, "pod-1")
    ranks = pods.children(process)
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert len(ranks) == 2
    assert gone(ranks)
