"""Child processes that are known by pid and start time, and ports that are known to be theirs.

Why not plain `subprocess`: a cluster must never kill what it did not start (pids are reused, so each is remembered with
its start time), must not survive a test run that was SIGKILLed, and must not mistake another program's port for its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
_exit_codes: dict[tuple[int, int], int] = {}
"""Pid and start time of our children that ended, to how."""


class StartError(RuntimeError):
    """A part of the cluster did not start; the message names the part and shows the end of its log."""


class PortTakenError(StartError):
    """Another program has the port."""


@dataclass(frozen=True)
class Child:
    """A process that we started, in this Python process or in an earlier one.

    Attributes:
        started: the process's start time in clock ticks since boot, so that a reused pid is told apart.
        record: the file that remembers the process for a later `stop`.
    """

    name: str
    pid: int
    started: int
    log: Path
    record: Path

    def alive(self) -> bool:
        _reap(self)
        return _start_time(self.pid) == self.started

    def send_signal(self, number: int) -> None:
        """Sends a signal to it, if it still runs."""
        if self.alive():
            os.kill(self.pid, number)

    def wait(self, timeout: float = 300.0) -> int:
        """Waits for its end; the exit code, or the negative number of the signal that ended it. Raises TimeoutError."""

        def reaped() -> bool:  # `alive` may look at a process whose threads are still ending
            _reap(self)
            return (self.pid, self.started) in _exit_codes

        if not _wait(reaped, timeout):
            raise TimeoutError(f"{self.name} still runs after {timeout:.0f} s; the end of its log:\n{self.log_tail()}")
        return _exit_codes[self.pid, self.started]

    def log_tail(self, characters: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


def spawn(
    name: str,
    command: list[str],
    *,
    folder: Path,
    env: dict[str, str] | None = None,
    detached: bool = False,
    keep: tuple[int, ...] = (),
    cwd: Path | None = None,
) -> Child:
    """Starts a process with its log at `<folder>/<name>.log`.

    Args:
        name: what the process is called in the folder and in messages.
        command: the program and its arguments.
        folder: where log and record go.
        env: its whole environment; None passes ours on.
        detached: it outlives us. Otherwise the kernel kills it when the calling thread ends, however that happens.
        keep: file descriptors that it inherits.
        cwd: where it runs.
    """
    log = folder / f"{name}.log"
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    with log.open("ab") as output:
        # A session of its own, so that Ctrl-C in a terminal reaches us alone and we stop things in order.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            start_new_session=True,
            pass_fds=keep,
            cwd=cwd,
            preexec_fn=None if detached else die_with_parent,  # noqa: PLW1509 - calls prctl and getppid only
        )
    process.returncode = 0  # `Child` waits for it by pid; this keeps Popen from warning about a running process
    child = Child(name, process.pid, _start_time(process.pid) or 0, log, folder / f"{name}.pid.json")
    child.record.write_text(json.dumps({"pid": child.pid, "started": child.started}))
    return child


def recorded(name: str, folder: Path) -> Child | None:
    """The process that an earlier `spawn` left at `folder`, if it still runs."""
    record = folder / f"{name}.pid.json"
    if not record.exists():
        return None
    seen = json.loads(record.read_text())
    child = Child(name, seen["pid"], seen["started"], folder / f"{name}.log", record)
    return child if child.alive() else None


def stop(children: Iterable[Child], *, grace: float = 10.0) -> None:
    """Ends the processes one after the other: SIGTERM, and SIGKILL after the grace."""
    for child in children:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not child.alive():
                break
            os.kill(child.pid, number)
            _wait(lambda child=child: not child.alive(), grace)  # type: ignore[misc]
        if child.record.exists() and json.loads(child.record.read_text())["pid"] == child.pid:
            child.record.unlink()  # unless a successor of that name has written its own


def wait_until(what: str, ready: Callable[[], bool], children: Iterable[Child], *, timeout: float = 180.0) -> None:
    """Waits for `ready()`, or raises StartError as soon as one of the processes has ended."""
    watched = list(children)
    deadline = time.monotonic() + timeout
    while not ready():
        for child in watched:
            if not child.alive():
                if "address already in use" in child.log_tail():
                    raise PortTakenError(f"{child.name} found its port taken by another program")
                raise StartError(
                    f"{child.name} ended while waiting for {what}; the end of its log:\n{child.log_tail()}"
                )
        if time.monotonic() > deadline:
            logs = "\n".join(f"--- {child.name}\n{child.log_tail()}" for child in watched)
            raise StartError(f"no {what} after {timeout:.0f} s\n{logs}")
        time.sleep(0.03)


def free_port() -> int:
    """A loopback port that nobody listens on now; who binds it must check `listens` afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int) -> int:
    """Returns the port, or raises PortTakenError when someone has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTakenError(f"port {port} is taken by another program: choose another one") from error
    return port


def listens(child: Child, port: int) -> bool:
    """Whether somebody listens on the loopback port.

    Raises:
        PortTakenError: it is not the child that listens.
    """
    inodes = _listening_inodes(port)
    if not inodes:
        return False
    for entry in Path(f"/proc/{child.pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.removeprefix("socket:[").removesuffix("]") in inodes:
            return True
    raise PortTakenError(f"port {port} was taken by another program before {child.name} had it")


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found.add(fields[9])
    return found


def _start_time(pid: int) -> int | None:
    """The process's start time in clock ticks; None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rsplit(")", 1)[1].split()  # the command name before it may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def _reap(child: Child) -> None:
    with contextlib.suppress(ChildProcessError):  # started by another process, or reaped already
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            _exit_codes[child.pid, child.started] = os.waitstatus_to_exitcode(status)


def _wait(done: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not (ended := done()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return ended
