"""The agent's end of the zygote: starts it, asks it for containers, and tells how they end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.cluster.processes import Child, spawn
from tests.cluster.processes import stop as stop_children
from tests.cluster.sandbox import Sandbox

_LARGEST_ANSWER = 1 << 20


class LauncherError(RuntimeError):
    """The zygote did not start; the message has the end of its log."""


class Process:
    """A container's process.

    Attributes:
        started: done when its program runs, or could not be started (then `error` says why).
        ended: done with the `waitpid` status.
        out_of_memory: set by whoever kills it in the name of the kernel.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid: int | None = None
        self.started: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.out_of_memory = False
        self.error: str | None = None

    def kill(self, number: signal.Signals) -> None:
        """Signals the first process of the container, unless it has ended."""
        if self.pid is not None and not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def heard(self, answer: Mapping[str, Any]) -> None:
        if "pid" in answer:
            self.pid = answer["pid"]
        if "error" in answer:
            self.error = answer["error"]
        if ("started" in answer or "error" in answer) and not self.started.done():
            self.started.set_result(None)
        if "status" in answer and not self.ended.done():
            if not self.started.done():
                self.started.set_result(None)
            self.ended.set_result(answer["status"])


class Launcher:
    """One zygote process."""

    def __init__(
        self, name: str, folder: Path, env: Mapping[str, str], modules: Sequence[str], commands: Sequence[str]
    ) -> None:
        self._name, self._folder, self._env = name, folder, dict(env)
        self._arguments = [f"--import={module}" for module in modules]
        self._arguments += [f"--command={command}" for command in commands]
        self.serves = frozenset(command.partition("=")[0] for command in commands)
        self._processes: dict[str, Process] = {}
        self._child: Child | None = None
        self._found = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the zygote, and waits until it has found its modules; containers wait until it has imported them."""
        ours, theirs = socket.socketpair()
        theirs.set_inheritable(True)
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-m", "tests.cluster.zygote", f"--fd={number}", *self._arguments]
            self._child = spawn(
                self._name, command, folder=self._folder, env=self._env, keep=(number,), cwd=_checkout()
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LARGEST_ANSWER)
        self._reading = asyncio.create_task(self._read())
        waiting = asyncio.create_task(self._found.wait())
        await asyncio.wait({waiting, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        if not self._found.is_set():
            waiting.cancel()
            self._fail()

    async def watch(self) -> None:
        """Returns never; without its zygote the agent is of no use.

        Raises:
            LauncherError: the zygote has ended, as when a module cannot be imported.
        """
        assert self._reading is not None
        await asyncio.wait({self._reading})
        self._fail()

    def _fail(self) -> NoReturn:
        tail = self._child.log_tail() if self._child is not None else ""
        raise LauncherError(f"{self._name} did not start, or ended:\n{tail}")

    async def stop(self) -> None:
        """Ends the zygote and with it every container that it forked."""
        if self._child is None:
            return
        self._writer.close()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=5)
        stop_children([self._child])

    def run(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path, view: Sandbox) -> Process:
        """Forks a container; what becomes of it is told by the returned object."""
        process = self._processes[name] = Process()
        request = {"id": name, "argv": argv, "env": env, "log": str(log), "sandbox": dataclasses.asdict(view)}
        self._writer.write(json.dumps(request).encode() + b"\n")
        return process

    async def _read(self) -> None:
        while line := await self._reader.readline():
            answer = json.loads(line)
            if "found" in answer:
                self._found.set()
                continue
            process = self._processes[answer["id"]]
            process.heard(answer)
            if process.ended.done():
                del self._processes[answer["id"]]
        for process in self._processes.values():
            process.heard({"status": signal.SIGKILL})  # the zygote is gone, and its containers with it


def _checkout() -> Path:
    return Path(__file__).parents[2]


def probe(folder: Path) -> None:
    """Checks that this machine lets us make the namespaces that a container needs.

    Raises:
        LauncherError: it does not; the message says what to change.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LauncherError(
            f"this machine allows no user namespaces ({done.stderr.strip()}): the node agent runs each container in one."
            " Allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone,"
            " kernel.apparmor_restrict_unprivileged_userns; in a container: an unmasked /proc and a seccomp profile"
            " that permits unshare and mount)"
        )
