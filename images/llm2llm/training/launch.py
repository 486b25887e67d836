"""One training in several processes on this machine, one for each GPU; the only module that starts and ends them.

The parent knows the store, the children do not: rank 0 tells of a checkpoint over a pipe and goes on when it is
durable. SIGTERM reaches the parent alone (a kubelet sends it to a container's first process), which tells the children
by a flag. Each child ends when the parent does, and the parent ends all when one of them fails.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

import torch

from llm2llm.errors import ExitCode, StepError, Transient
from llm2llm.training import session
from llm2llm.training.durable import Flag, Hooks
from llm2llm.training.ranks import Ranks
from llm2llm.training.session import Job, Trained

PROCESSES = "LLM2LLM_TRAIN_PROCESSES"
"""Environment variable: so many processes without GPUs, over gloo. Only tests set it."""
_LOOK_SECONDS = 0.2
_LAST_WORDS_SECONDS = 2.0
_END_SECONDS = 60.0


def processes(asked: int, visible: int, environ: Mapping[str, str]) -> int:
    """Processes of a training: one for each GPU that was asked for and is there, at least one.

    A laptop without GPUs runs the manifest of a cluster, slower and with the same result.
    """
    return int(environ.get(PROCESSES) or max(1, min(asked, visible)))


def train_in_processes(job: Job, hooks: Hooks, count: int) -> Trained:
    """See session.train.

    Raises:
        StepError: as a process told it.
        Transient: a process died without a word.
    """
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads and a CUDA context
    stopping = spawn.Event()
    rendezvous = job.scratch.with_name(f"{job.scratch.name}-rendezvous")
    rendezvous.parent.mkdir(parents=True, exist_ok=True)
    rendezvous.unlink(missing_ok=True)
    children: list[tuple[Any, Connection]] = []
    try:
        for rank in range(count):
            mine, theirs = spawn.Pipe()
            child = spawn.Process(
                target=_work, args=(rank, count, rendezvous, job, hooks.interval, stopping, theirs), name=f"rank {rank}"
            )
            child.start()
            theirs.close()
            children.append((child, mine))
        return _Watch(children, hooks, stopping.set).result()
    finally:
        for child, pipe in children:
            child.kill()
            child.join()
            pipe.close()


class _Watch:
    """Serves the children until all have ended, or one has failed."""

    def __init__(self, children: list[tuple[Any, Connection]], hooks: Hooks, stop: Callable[[], None]) -> None:
        self._children = children
        self._hooks = hooks
        self._stop = stop
        self._trained: Trained | None = None
        self._failures: list[StepError] = []

    def result(self) -> Trained:
        open_pipes = {pipe: child for child, pipe in self._children}
        while open_pipes and not self._failures:
            self._serve(open_pipes, _LOOK_SECONDS)
        if self._failures:
            # The others fail because of the first: its words may come later, and are worth more than theirs.
            until = time.monotonic() + _LAST_WORDS_SECONDS
            while open_pipes and (left := until - time.monotonic()) > 0:
                self._serve(open_pipes, left)
            raise min(self._failures, key=lambda error: error.exit_code == ExitCode.TRANSIENT)
        if self._trained is None:
            raise Transient("the training processes ended without a result")
        return self._trained

    def _serve(self, open_pipes: dict[Connection, Any], seconds: float) -> None:
        if self._hooks.stopping.is_set():
            self._stop()
        for pipe in cast("list[Connection]", wait(list(open_pipes), timeout=seconds)):
            try:
                self._hear(pipe, *pipe.recv())
            except (EOFError, ConnectionError):
                child = open_pipes.pop(pipe)
                child.join(_END_SECONDS)
                if child.exitcode != 0:
                    words = f"the training process of {child.name} died (exit code {child.exitcode})"
                    self._failures.append(Transient(f"{words}: the step is tried again from its last checkpoint"))

    def _hear(self, pipe: Connection, word: str, *told: Any) -> None:
        match word:
            case "progress":
                self._hooks.progress(*told)
            case "save":
                self._hooks.save(*told)
                pipe.send("saved")
            case "trained":
                self._trained = told[0]
            case "failed":
                self._failures.append(told[0])


def _work(
    rank: int, count: int, rendezvous: Path, job: Job, interval: float, stopping: Flag, parent: Connection
) -> None:
    """What one process does, from its start to its end."""
    for number in (signal.SIGTERM, signal.SIGINT):  # Ctrl-C reaches a whole process group: the parent decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in environment.items()})
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a pod's own name need not resolve
    try:
        trained = _trained(rank, count, rendezvous, job, interval, stopping, parent)
        if rank == 0:
            parent.send(("trained", trained))
    except StepError as error:
        _fail(parent, error)
    except Exception as error:  # noqa: BLE001 - the top of a process: unknown causes are transient, and told in full
        traceback.print_exc()
        last = traceback.format_exception_only(error)[-1].strip()
        _fail(parent, Transient(f"training failed on rank {rank}: {last}"))


def _trained(
    rank: int, count: int, rendezvous: Path, job: Job, interval: float, stopping: Flag, parent: Connection
) -> Trained:
    def save(folder: Path, step: int, micro_batch: int) -> None:
        parent.send(("save", folder, step, micro_batch))
        parent.recv()

    def progress(event: Mapping[str, object]) -> None:
        if rank == 0:
            parent.send(("progress", dict(event)))

    hooks = Hooks(save=save, stopping=stopping, progress=progress, clock=time.monotonic, interval=interval)
    ranks = Ranks.join(rank, count, rendezvous, job.train.progress_deadline_seconds)
    trained = session.train(job, session.load(job), hooks, ranks)
    torch.distributed.destroy_process_group()
    return trained


def _fail(parent: Connection, error: StepError) -> None:
    """Tells it and ends at once: torch's threads may still wait for the other ranks."""
    parent.send(("failed", error))
    parent.close()
    os._exit(error.exit_code)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(ExitCode.TRANSIENT)
