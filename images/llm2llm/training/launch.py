"""One training in several processes on this machine, one for each GPU; the only module that starts them.

torchrun's agent (`torch.distributed.launcher`) starts and watches the ranks, and ends all when one fails. The parent
knows the store, the ranks do not: rank 0 tells of a checkpoint over a pipe and hears when it is in the store. A SIGTERM
is the parent's affair (a kubelet sends it to a container's first process), which tells the ranks by a flag.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from llm2llm.errors import ExitCode, StepError, Transient
from llm2llm.runtime.disk import disk_advice
from llm2llm.training import run as session
from llm2llm.training.callback import Hooks
from llm2llm.training.checkpoint_schedule import Upload
from llm2llm.training.ranks import Ranks
from llm2llm.training.run import TrainingJob, TrainingResult

_LOOK_SECONDS = 0.3
_UPLOAD_LOOK_SECONDS = 0.02
_TOLD_SECONDS = 1.0
"""Within so long after a SIGTERM to all processes alike the parent has set the flag."""


@dataclass(frozen=True)
class _SharedFlag:
    """A flag in memory that processes share, without a lock: one that is killed could hold it for ever."""

    byte: Any

    def set(self) -> None:
        self.byte.value = 1

    def is_set(self) -> bool:
        return bool(self.byte.value)


def train_in_processes(job: TrainingJob, hooks: Hooks, count: int) -> TrainingResult:
    """See session.train.

    Raises:
        StepError: as a process told it.
        Transient: a process died without a word.
    """
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads and a CUDA context
    pipes = [spawn.Pipe() for _ in range(count)]
    held, line = spawn.Pipe(duplex=False)
    stopping = _SharedFlag(spawn.RawValue("b", 0))
    folder = job.scratch.with_name(f"{job.scratch.name}-ranks")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # torch would meet over ports of all interfaces, and unpickles what it finds there.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        max_restarts=0,  # the operator's affair
        monitor_interval=_LOOK_SECONDS / 3,
        run_id=job.scratch.name,
        rdzv_backend="c10d",
        rdzv_endpoint=str(folder / "agent"),
        rdzv_configs={"store_type": "file"},
        local_addr="127.0.0.1",  # a pod's own name need not resolve
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
        signals_to_handle="SIGHUP",  # SIGTERM and SIGINT are the step's
    )
    desk = _RankServer([mine for mine, _ in pipes], line, hooks, stopping)
    try:
        with desk:
            results = elastic_launch(config, _run_rank)(
                [theirs for _, theirs in pipes], held, folder / "ranks", job, hooks.interval, stopping
            )
    except ChildFailedError as error:
        rank, death = error.get_first_failure()
        how = death.signal_name() if death.exitcode < 0 else f"exit code {death.exitcode}"
        words = f"the training process of rank {rank} died ({how}): the step is retried from its last checkpoint"
        raise desk.failure(rank) or Transient(words) from error
    trained: TrainingResult = results[0]
    return trained


class _RemoteUpload:
    """A checkpoint that the parent uploads; it says so once it is in the store, or ends this process."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent
        self._stored = False

    def done(self) -> bool:
        return self._stored or (self._parent.poll() and self._hear())

    def result(self) -> bool:
        return self._stored or self._hear()

    def _hear(self) -> bool:
        self._parent.recv()
        self._stored = True
        return True


class _RankServer:
    """Serves the ranks in a thread of its own, since torchrun's agent has the main one."""

    def __init__(self, pipes: list[Connection], line: Connection, hooks: Hooks, stopping: _SharedFlag) -> None:
        self._pipes = pipes
        self._line = line
        self._hooks = hooks
        self._stopping = stopping
        self._own: Exception | None = None
        self._told: dict[int, StepError] = {}
        self._uploads: list[tuple[Upload, Connection]] = []
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=work, name="ranks") for work in (self._serve, self._pass_on)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._line.close()
        self._closed.set()
        for thread in self._threads:
            thread.join()

    def failure(self, first: int) -> Exception | None:
        """What tells most: the ranks fail because of the parent or of one of them, and call what follows transient.

        Args:
            first: the rank that ended first.
        """
        lasting = (error for error in self._told.values() if not isinstance(error, Transient))
        return self._own or next(lasting, self._told.get(first))

    def _serve(self) -> None:
        try:
            while not self._closed.is_set():
                self._hear(_LOOK_SECONDS)
            while self._hear(0):
                pass
        except Exception as error:  # noqa: BLE001 - e.g. a checkpoint that the store refuses: raised by failure()
            self._own = error
            self._line.close()

    def _pass_on(self) -> None:
        """Tells the ranks of SIGTERM, also while a checkpoint waits for the one before."""
        while not self._closed.wait(_LOOK_SECONDS):
            if self._hooks.stopping.is_set():
                self._stopping.set()

    def _hear(self, seconds: float) -> bool:
        if self._uploads and self._uploads[0][0].done():
            upload, asked = self._uploads.pop(0)
            upload.result()
            asked.send("stored")
        if self._uploads:
            seconds = min(seconds, _UPLOAD_LOOK_SECONDS)  # rank 0 may wait for it
        ready = cast("list[Connection]", wait(self._pipes, timeout=seconds))
        for pipe in ready:
            match pipe.recv():
                case ("progress", event):
                    self._hooks.progress(event)
                case ("save", *what):
                    self._uploads.append((self._hooks.save(*what), pipe))
                case ("failed", error):
                    self._told[self._pipes.index(pipe)] = error
        return bool(ready)


def _run_rank(
    pipes: list[Connection],
    held: Connection,
    rendezvous: Path,
    job: TrainingJob,
    interval: float,
    stopping: _SharedFlag,
) -> TrainingResult:
    """What one process does, from its start to its end."""
    rank, count, pipe = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), pipes[int(os.environ["RANK"])]
    _exit_with_parent(held, stopping)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        return _train_rank(rank, count, rendezvous, pipe, job, interval, stopping)
    except StepError as error:
        _fail(pipe, error)
    except Exception as error:  # noqa: BLE001 - the top of a process: unknown causes are transient, and told in full
        traceback.print_exc()
        last = traceback.format_exception_only(error)[-1].strip()
        told = Transient(f"training failed on rank {rank}: {last}{disk_advice(error)}")
        _fail(pipe, told, linger=_LOOK_SECONDS)  # so that the agent sees first who ended first
    raise AssertionError


def _train_rank(
    rank: int,
    count: int,
    rendezvous: Path,
    parent: Connection,
    job: TrainingJob,
    interval: float,
    stopping: _SharedFlag,
) -> TrainingResult:
    def save(folder: Path, step: int, micro_batch: int) -> Upload:
        parent.send(("save", folder, step, micro_batch))
        return _RemoteUpload(parent)

    def progress(event: Mapping[str, object]) -> None:
        if rank == 0:
            parent.send(("progress", dict(event)))

    hooks = Hooks(save=save, stopping=stopping, progress=progress, clock=time.monotonic, interval=interval)
    ranks = Ranks.join(rank, count, rendezvous, job.train.progress_deadline_seconds)
    trained = session.train(job, session.load_model(job), hooks, ranks)
    torch.distributed.destroy_process_group()
    return trained


def _fail(parent: Connection, error: StepError, *, linger: float = 0.0) -> None:
    """Tells it and ends: torch's threads may still wait for the other ranks."""
    parent.send(("failed", error))
    time.sleep(linger)
    parent.close()
    os._exit(error.exit_code)


def _exit_with_parent(held: Connection, stopping: _SharedFlag) -> None:
    """Has a thread end this process when its parent has, and at torchrun's SIGTERM, whatever the main thread waits for.

    Slurm and systemd send a SIGTERM to the parent and the ranks alike: it asks for a checkpoint, as the parent says.
    """
    heard, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.fileno())  # at once, and from whichever thread the signal reaches
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        with heard, tell:
            if wait([held, heard]) == [heard]:
                wait([held], timeout=_TOLD_SECONDS)
                if stopping.is_set():
                    heard.recv(1)
                    wait([held, heard])
            os._exit(ExitCode.TRANSIENT)

    threading.Thread(target=watch, daemon=True).start()
