"""A teacher of our own: vLLM's OpenAI server as a child on loopback, so that all of the Online way works unchanged.

This module, run as `python -m llm2llm.teacher.local`, is that child, and the one place here that starts vLLM's code: a
crash or a leak of it ends the child, and the ledger of what it wrote stays.
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

from llm2llm.api.stages import Generate, Teacher
from llm2llm.errors import ConfigurationError, Terminated, Transient
from llm2llm.podenv import TEACHER_CA_BUNDLE, TEACHER_KEY

SERVER = "vllm.entrypoints.openai.api_server"
LOOPBACK = "127.0.0.1"
LOG_LINES = 20
"""Last lines of vLLM's log that an error tells."""
GRACE_SECONDS = 5.0
"""What is in flight was waited for before; below what a pod's usual grace of 30 s leaves then."""
_POLL_SECONDS = 0.5
_HEALTH_SECONDS = 5.0
_LOG_BYTES = 16_384
_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port: int = free.getsockname()[1]
    return port


@dataclass
class LocalTeacher:
    """vLLM with one model. It is started by `start`, when there is something to ask, and ends with the context.

    Args:
        generate: `spec.generate`, in mode Local.
        model: the folder of the teacher, with its weights.
        scratch: where its log and its caches go.
        environ: what the child gets.
        tell: hears how far it is; only where its log moves, so that a watchdog notices one that hangs.
        stopping: becomes true when the step has to end.
    """

    generate: Generate
    model: Callable[[], Path]
    scratch: Path
    environ: Mapping[str, str]
    tell: Callable[[str], None]
    stopping: threading.Event
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
        with suppress(ProcessLookupError):  # its engine is a process of its own, in the same group
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    @property
    def address(self) -> Teacher:
        """The teacher as a client sees it."""
        return self.generate.teacher.model_copy(update={"base_url": f"http://{LOOPBACK}:{self.port}/v1"})

    @property
    def client_environ(self) -> dict[str, str]:
        """The environment of that client: its key is this process's own, and there is no certificate."""
        kept = {name: value for name, value in self.environ.items() if name != TEACHER_CA_BUNDLE}
        return kept | {TEACHER_KEY: self.key}

    def start(self) -> None:
        """Returns once it answers; does nothing where it does already.

        Raises:
            ConfigurationError: vLLM is not installed here.
            Transient: it ended before it was ready; tells its last lines.
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
                start_new_session=True,  # Ctrl-C is for this process, which ends it in its own time
            )
        self._await_ready()

    def check(self) -> None:
        """Raises Transient where it was started and has ended."""
        if self._child is not None and self._child.poll() is not None:
            lines = self._last_lines()
            if f"No module named '{SERVER.partition('.')[0]}'" in "\n".join(lines):
                raise ConfigurationError(
                    "spec.generate.mode is Local, but vLLM is not installed in this image: set spec.generate.image to "
                    "an image that contains it, e.g. the evaluator's"
                )
            raise Transient(f"the teacher's vLLM server exited with code {self._child.returncode}: {' | '.join(lines)}")

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
            # As much of the model's context as the memory beside its weights holds.
            "--max-model-len": "auto",
            "--max-num-seqs": str(self.generate.limits.max_concurrent_requests),
        }
        # Without a GPU graph capture costs more than it gives.
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
        told = ""
        while not self._healthy():
            self.check()
            if self.stopping.wait(_POLL_SECONDS):
                raise Terminated("stopped while the teacher was starting")
            line = next(iter(self._last_lines()[-1:]), "")
            if line != told:
                told = line
                self.tell(f"the teacher is starting: {line[:200]}")

    def _healthy(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{LOOPBACK}:{self.port}/health", timeout=_HEALTH_SECONDS) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (OSError, urllib.error.URLError):
            return False

    def _last_lines(self) -> list[str]:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LOG_BYTES))
            text = log.read().decode(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()][-LOG_LINES:]


def main(argv: Sequence[str]) -> int:
    """The child: vLLM's server with these arguments; it ends when its parent does, however that ends.

    More precisely when the thread that started it ends: one of a pool, which outlives the round.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.argv = [SERVER, *argv]
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
