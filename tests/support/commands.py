"""Starts `llm2llm`, or a script that uses it, within milliseconds, for tests that start it dozens of times.

It is forked from a process that has imported torch, transformers and peft once (preloaded.py), instead of importing
them anew for six seconds of CPU. What it runs, with which environment and with which streams, is as for any process.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.cluster.sandbox import die_with_parent
from tests.cluster.zygote import become_fresh

_FORKSERVER = get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["tests.support.preloaded"])
_MAIN = "import sys; from llm2llm.cli.main import main; sys.exit(main(sys.argv[1:]))"


class Command:
    """A running `llm2llm ...` or script, or one that has ended.

    Attributes:
        pid: its process id.
        log: what it writes to stdout and, unless told otherwise, to stderr.
    """

    def __init__(self, process: ForkServerProcess, log: Path) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid
        self.log = log

    def alive(self) -> bool:
        """Returns whether it still runs."""
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        """Sends a signal to it, if it still runs."""
        if self.alive():
            os.kill(self.pid, number)

    def wait(self, timeout: float = 300.0) -> int:
        """Waits for its end; returns the exit code, or the negative number of the signal that ended it.

        Raises:
            TimeoutError: it still runs.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"llm2llm still runs after {timeout:.0f} s; the end of its log:\n{self.log_tail()}")
        return self._process.exitcode

    def log_tail(self, characters: int = 3000) -> str:
        """Returns the end of its log."""
        return self.log.read_text(errors="replace")[-characters:]


def start_command(
    arguments: Sequence[str], *, log: Path, env: Mapping[str, str], errors: Path | None = None, cwd: Path | None = None
) -> Command:
    """Starts `llm2llm` with these arguments.

    Args:
        arguments: what follows the program's name.
        log: the file that its output is appended to.
        env: its whole environment; it imports `llm2llm` from PYTHONPATH, as Python does.
        errors: the file for stderr; None writes it to `log`, too.
        cwd: where it runs; None is where this process is.
    """
    return _start(_MAIN, arguments, log, errors or log, env, cwd)


def start_script(script: str, *, log: Path, env: Mapping[str, str]) -> Command:
    """Starts what `python -c` with this script would start."""
    return _start(script, (), log, log, env, None)


def run_command(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Runs `llm2llm` with these arguments to its end, and returns what it wrote."""
    with tempfile.TemporaryDirectory(prefix="llm2llm-command-") as folder:
        out, err = Path(folder) / "stdout", Path(folder) / "stderr"
        command = start_command(arguments, log=out, errors=err, env=env, cwd=cwd)
        try:
            code = command.wait(timeout)
        finally:
            command.send_signal(signal.SIGKILL)
        return subprocess.CompletedProcess(list(arguments), code, out.read_text(), err.read_text())


def _start(
    script: str, arguments: Sequence[str], log: Path, errors: Path, env: Mapping[str, str], cwd: Path | None
) -> Command:
    log.touch()
    place = (str(log), str(errors), dict(env), str(cwd or Path.cwd()))
    process = _FORKSERVER.Process(target=_run, args=(script, list(arguments), *place))
    process.start()
    return Command(process, log)


def _run(script: str, arguments: list[str], log: str, errors: str, env: dict[str, str], cwd: str) -> None:
    """In the forked process: becomes what `python -c` would be."""
    os.setsid()
    die_with_parent()  # the server, which ends with the tests
    for file, numbers in ((os.devnull, (0,)), (log, (1,)), (errors, (2,))):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        for number in numbers:
            os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    become_fresh(["llm2llm", *arguments], env)
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    try:
        exec(compile(script, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()
