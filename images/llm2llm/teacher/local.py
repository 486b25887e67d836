"""Runs a local teacher: vLLM's OpenAI server in a child process on loopback, so that mode Online's code works
unchanged.

This module, run as `python -m llm2llm.teacher.local`, is that child, and the only place here that starts vLLM's code: a
crash or a leak in it ends the child, and the ledger of its answers stays.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import secrets
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Self

from llm2llm.api.generate import Generate, Teacher
from llm2llm.errors import ConfigurationError, Terminated, Transient
from llm2llm.podenv import TEACHER_CA_BUNDLE, TEACHER_KEY
from llm2llm.runtime.masking import Masker

SERVER = "vllm.entrypoints.openai.api_server"
LOOPBACK = "127.0.0.1"
LOG_LINES = 20
"""Last lines of vLLM's log that an error quotes."""
QUOTE_CHARACTERS = 1500
"""Last characters of those lines: a report cuts the end of a message of more than 2,048, and the end says why."""
GRACE_SECONDS = 5.0
"""Seconds that the server has to end after SIGTERM. Requests in flight were waited for before; this is below what a
pod's usual grace of 30 s leaves then."""
_POLL_SECONDS = 0.5
_HEALTH_SECONDS = 5.0
_LOG_BYTES = 16_384
_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """Returns a port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port: int = free.getsockname()[1]
    return port


@dataclass
class LocalTeacher:
    """A vLLM server with one model. `start` starts it once there is a request to send; it ends with the context.

    Args:
        generate: `spec.generate`, in mode Local.
        model: returns the folder of the teacher, with its weights.
        scratch: folder for its log and its caches.
        environ: environment of the child.
        tell: receives progress messages, but only when the log moves, so that a watchdog notices a server that hangs.
        stopping: set when the step has to end.
        mask: hides secrets in what is quoted of its log.
    """

    generate: Generate
    model: Callable[[], Path]
    scratch: Path
    environ: Mapping[str, str]
    tell: Callable[[str], None]
    stopping: threading.Event
    mask: Masker
    port: int = field(default_factory=free_port)
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    _child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        child = self._child
        if child is None:
            return
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
        with suppress(ProcessLookupError):  # the engine is a process of its own, in the same group
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    @property
    def address(self) -> Teacher:
        """Returns the teacher as a client sees it."""
        return self.generate.teacher.model_copy(update={"base_url": f"http://{LOOPBACK}:{self.port}/v1"})

    @property
    def client_environ(self) -> dict[str, str]:
        """Returns the environment for that client: the key is this process's own, and there is no CA bundle."""
        kept = {name: value for name, value in self.environ.items() if name != TEACHER_CA_BUNDLE}
        return kept | {TEACHER_KEY: self.key}

    def start(self) -> None:
        """Starts the server and returns once it answers; does nothing if it was started before.

        Raises:
            ConfigurationError: vLLM is not installed here.
            Transient: the server ended before it was ready; the message quotes its last lines.
            Terminated: the step has to end.
        """
        if self._child is not None:
            return
        folder = self.model()
        self.scratch.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                self._command(folder),
                env=self._child_environ(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C goes to this process, which ends the child in its own time
            )
        self._await_ready()

    def check(self) -> None:
        """Raises Transient if the server was started and has ended, ConfigurationError if vLLM is not installed."""
        if self._child is not None and self._child.poll() is not None:
            lines = self._last_lines()
            if f"No module named '{SERVER.partition('.')[0]}'" in "\n".join(lines):
                raise ConfigurationError(
                    "spec.generate.mode is Local, but vLLM is not installed in this image: set spec.generate.image to "
                    "an image that contains it, e.g. the evaluator's"
                )
            quote = " | ".join(lines)[-QUOTE_CHARACTERS:]
            raise Transient(f"the teacher's vLLM server exited with code {self._child.returncode}: {quote}")

    @property
    def _log(self) -> Path:
        return self.scratch / "vllm.log"

    def _command(self, folder: Path) -> list[str]:
        options = {
            "--model": str(folder),
            "--served-model-name": self.generate.teacher.model,
            "--host": LOOPBACK,
            "--port": str(self.port),
            "--tensor-parallel-size": str(self.generate.tensor_parallel_size),
            # As much of the model's context as fits into memory beside the weights.
            "--max-model-len": "auto",
            "--max-num-seqs": str(self.generate.limits.max_concurrent_requests),
        }
        # Without a GPU, graph capture costs more time than it saves.
        flags = [] if self.generate.gpus or Path("/dev/nvidiactl").exists() else ["--enforce-eager"]
        listed = [part for option in options.items() for part in option]
        return [sys.executable, "-m", __name__, *listed, *flags, "--disable-uvicorn-access-log"]

    def _child_environ(self) -> dict[str, str]:
        caches = {
            "VLLM_CACHE_ROOT": "vllm",
            "TRITON_CACHE_DIR": "triton",
            "TORCHINDUCTOR_CACHE_DIR": "inductor",
        }
        defaults = {
            **{name: str(self.scratch / "cache" / folder) for name, folder in caches.items()},
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        return defaults | dict(self.environ) | {"VLLM_API_KEY": self.key}

    def _await_ready(self) -> None:
        last_line = ""
        while not self._healthy():
            self.check()
            if self.stopping.wait(_POLL_SECONDS):
                raise Terminated("stopped while the teacher was starting")
            line = next(iter(self._last_lines()[-1:]), "")
            if line != last_line:
                last_line = line
                self.tell(f"the teacher is starting: {line[:200]}")

    def _healthy(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{LOOPBACK}:{self.port}/health", timeout=_HEALTH_SECONDS) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (OSError, urllib.error.URLError):
            return False

    def _last_lines(self) -> list[str]:
        """Returns the last lines of the log, masked: whole ones, since part of a secret cannot be found."""
        with self._log.open("rb") as log:
            begin = max(0, self._log.stat().st_size - _LOG_BYTES)
            log.seek(begin)
            text = log.read().decode(errors="replace")
        _, line_break, whole = text.partition("\n")
        text = whole if begin and line_break else text
        masked = self.mask(text[: self.mask.settled(text)])  # its last line may still be written
        return [line.strip() for line in masked.splitlines() if line.strip()][-LOG_LINES:]


def main(argv: Sequence[str]) -> int:
    """Runs vLLM's server with these arguments in the child; it ends when its parent ends, for whatever reason.

    More precisely, it ends when the thread that started it ends: one of a pool, which outlives the round.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.argv = [SERVER, *argv]
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
