"""Runs one training in several processes on this machine, one per GPU; the only module that starts them.

torchrun's agent (`torch.distributed.launcher`) starts and watches the ranks, and ends all of them when one fails. Only
the parent knows the store: rank 0 sends it each checkpoint over a pipe and receives a message once the checkpoint is in
the store. The parent handles SIGTERM, which a kubelet sends to a container's first process, and passes it on to the
ranks by a flag.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import sys
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
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from llm2llm.errors import ExitCode, StepError, Transient
from llm2llm.models.device import limit_threads
from llm2llm.runtime.disk import disk_advice
from llm2llm.runtime.logs import tee_output
from llm2llm.runtime.masking import Masker
from llm2llm.training import run as session
from llm2llm.training.callback import Hooks
from llm2llm.training.checkpoint_schedule import Upload
from llm2llm.training.ranks import Ranks
from llm2llm.training.run import TrainingJob, TrainingResult

_LOOK_SECONDS = 0.3
_UPLOAD_LOOK_SECONDS = 0.02
_FLAG_SECONDS = 1.0
"""Seconds within which the parent sets the flag after a SIGTERM to all processes alike."""


@dataclass(frozen=True)
class _SharedFlag:
    """A flag in shared memory, without a lock: a process that is killed could hold the lock forever."""

    byte: Any

    def set(self) -> None:
        self.byte.value = 1

    def is_set(self) -> bool:
        return bool(self.byte.value)


def train_in_processes(job: TrainingJob, hooks: Hooks, count: int, mask: Masker) -> TrainingResult:
    """Trains in `count` processes; see run.train. What they print goes on to this process's stdout and stderr, masked.

    Raises:
        StepError: the error that a process reported.
        Transient: a process died without reporting an error.
    """
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads and a CUDA context
    pipes = [spawn.Pipe() for _ in range(count)]
    parent_alive_r, parent_alive_w = spawn.Pipe(duplex=False)
    stopping = _SharedFlag(spawn.RawValue("b", 0))
    folder = job.scratch.with_name(f"{job.scratch.name}-ranks")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # torch would rendezvous over ports on all interfaces, and unpickle what it receives there.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        max_restarts=0,  # the operator retries
        monitor_interval=_LOOK_SECONDS / 3,
        run_id=job.scratch.name,
        rdzv_backend="c10d",
        rdzv_endpoint=str(folder / "agent"),
        rdzv_configs={"store_type": "file"},
        local_addr="127.0.0.1",  # a pod's own name may not resolve
        logs_specs=DefaultLogsSpecs(log_dir=str(folder), tee=Std.ALL),  # by way of sys.stdout and sys.stderr here
        signals_to_handle="SIGHUP",  # the step handles SIGTERM and SIGINT
    )
    server = _RankServer([parent_end for parent_end, _ in pipes], parent_alive_w, hooks, stopping)
    try:
        with server:
            results = elastic_launch(config, _run_rank)(
                [rank_end for _, rank_end in pipes],
                parent_alive_r,
                folder / "ranks",
                job,
                hooks.interval,
                stopping,
                mask,
            )
    except ChildFailedError as error:
        rank, death = error.get_first_failure()
        cause = death.signal_name() if death.exitcode < 0 else f"exit code {death.exitcode}"
        message = f"the training process of rank {rank} died ({cause}): the step is retried from its last checkpoint"
        raise server.failure(rank) or Transient(message) from error
    trained: TrainingResult = results[0]
    return trained


class _RemoteUpload:
    """A checkpoint that the parent uploads; the parent replies once it is in the store, or ends this process."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent
        self._stored = False

    def done(self) -> bool:
        return self._stored or (self._parent.poll() and self._receive_stored())

    def result(self) -> bool:
        return self._stored or self._receive_stored()

    def _receive_stored(self) -> bool:
        self._parent.recv()
        self._stored = True
        return True


class _RankServer:
    """Serves the ranks in threads of its own, since torchrun's agent occupies the main thread."""

    def __init__(
        self, pipes: list[Connection], parent_alive_w: Connection, hooks: Hooks, stopping: _SharedFlag
    ) -> None:
        self._pipes = pipes
        self._parent_alive_w = parent_alive_w
        self._hooks = hooks
        self._stopping = stopping
        self._own_error: Exception | None = None
        self._errors: dict[int, StepError] = {}
        self._uploads: list[tuple[Upload, Connection]] = []
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=work, name="ranks") for work in (self._serve, self._forward_stop)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._parent_alive_w.close()  # once the threads are over: two that close it at once would close it twice

    def failure(self, first: int) -> Exception | None:
        """Returns the most telling error: the parent's own, else a rank's lasting error, else that of the first rank.

        The ranks fail because of the parent or of one rank, and report the errors that follow as transient.

        Args:
            first: the rank that ended first.
        """
        lasting = (error for error in self._errors.values() if not isinstance(error, Transient))
        return self._own_error or next(lasting, self._errors.get(first))

    def _serve(self) -> None:
        try:
            while not self._closed.is_set():
                self._handle_messages(_LOOK_SECONDS)
            while self._handle_messages(0):
                pass
        except Exception as error:  # noqa: BLE001 - e.g. a checkpoint that the store rejects: returned by failure()
            self._own_error = error
            self._parent_alive_w.close()

    def _forward_stop(self) -> None:
        """Passes SIGTERM on to the ranks, even while a checkpoint waits for the previous one."""
        while not self._closed.wait(_LOOK_SECONDS):
            if self._hooks.stopping.is_set():
                self._stopping.set()

    def _handle_messages(self, seconds: float) -> bool:
        if self._uploads and self._uploads[0][0].done():
            upload, pipe_of_upload = self._uploads.pop(0)
            upload.result()
            pipe_of_upload.send("stored")
        if self._uploads:
            seconds = min(seconds, _UPLOAD_LOOK_SECONDS)  # rank 0 may wait for it
        ready = cast("list[Connection]", wait(self._pipes, timeout=seconds))
        for pipe in ready:
            match pipe.recv():
                case ("progress", event):
                    self._hooks.progress(event)
                case ("save", *arguments):
                    self._uploads.append((self._hooks.save(*arguments), pipe))
                case ("failed", error):
                    self._errors[self._pipes.index(pipe)] = error
        return bool(ready)


def _run_rank(
    pipes: list[Connection],
    parent_alive_r: Connection,
    rendezvous: Path,
    job: TrainingJob,
    interval: float,
    stopping: _SharedFlag,
    mask: Masker,
) -> TrainingResult:
    """Runs one training process from its start to its end."""
    rank, count, pipe = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), pipes[int(os.environ["RANK"])]
    _exit_with_parent(parent_alive_r, stopping)
    os.environ["OMP_NUM_THREADS"] = str(limit_threads(count))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        with tee_output(mask):  # here, too: the parent may read a line in two pieces
            return _train_rank(rank, count, rendezvous, pipe, job, interval, stopping)
    except StepError as error:
        _send_and_exit(pipe, error)
    except Exception as error:  # noqa: BLE001 - the top of a process: unknown causes are transient, and reported in full
        print(mask(traceback.format_exc()), file=sys.stderr)
        last = traceback.format_exception_only(error)[-1].strip()
        failure = Transient(f"training failed on rank {rank}: {last}{disk_advice(error)}")
        _send_and_exit(pipe, failure, linger=_LOOK_SECONDS)  # so that the agent first sees the rank that ended first
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


def _send_and_exit(parent: Connection, error: StepError, *, linger: float = 0.0) -> None:
    """Sends the error and ends the process hard: torch's threads may still wait for the other ranks."""
    parent.send(("failed", error))
    time.sleep(linger)
    parent.close()
    os._exit(error.exit_code)


def _exit_with_parent(parent_alive_r: Connection, stopping: _SharedFlag) -> None:
    """Starts a thread that ends this process when its parent ends, and at torchrun's SIGTERM.

    It does so whatever the main thread waits for. Slurm and systemd send SIGTERM to the parent and the ranks alike:
    that signal asks for a checkpoint, as the parent's flag shows.
    """
    signal_r, signal_w = socket.socketpair()
    signal_w.setblocking(False)
    signal.set_wakeup_fd(signal_w.fileno())  # immediately, whichever thread the signal reaches
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        with signal_r, signal_w:
            if wait([parent_alive_r, signal_r]) == [signal_r]:
                wait([parent_alive_r], timeout=_FLAG_SECONDS)
                if stopping.is_set():
                    signal_r.recv(1)
                    wait([parent_alive_r, signal_r])
            os._exit(ExitCode.TRANSIENT)

    threading.Thread(target=watch, daemon=True).start()
