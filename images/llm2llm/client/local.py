"""The client of runs on this machine: each is a process of `llm2llm run`, with its artifacts in one work folder.

What was created is kept beside the artifacts (`.client/`), so that another notebook finds it. A run whose process was
stopped goes on if it is created again.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm2llm.client.manifest import document_of
from llm2llm.client.runs import HELD, IterationResult, Manifest, Run
from llm2llm.errors import ConfigurationError, StepError
from llm2llm.layout import LOGS
from llm2llm.local.holder import LOCK
from llm2llm.loop.stopping import Finished
from llm2llm.manifests.documents import LocalRun, validate_run
from llm2llm.plaintext import plain
from llm2llm.report.collect import Contents, Iteration, collect
from llm2llm.results.targets import NamedRun, named_runs
from llm2llm.storage import LocalStore
from llm2llm.suggestion import did_you_mean

POLL_SECONDS = 1.0
STOP_SECONDS = 60.0
"""For a checkpoint, after which the process is killed."""
_TAIL_BYTES = 65536


class LocalClient:
    """Runs on this machine."""

    def __init__(self, workdir: Path, secrets: Mapping[str, str]) -> None:
        """Names the work folder and the Secrets.

        Args:
            workdir: folder for artifacts; it is created if needed.
            secrets: `NAME/KEY` of a Secret to its value, as the manifest names them.
        """
        self._workdir = workdir.absolute()
        self._secrets = dict(secrets)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def create(self, manifest: Manifest) -> Run:
        """Starts a run in a process of its own, or goes on with one that was stopped, and returns it.

        Raises:
            InvalidManifest: the manifest is not valid.
            ConfigurationError: the run is going on already.
        """
        document = document_of(manifest)
        name = validate_run(document).name
        if self._is_running(name):
            raise ConfigurationError(f"{name} is running: wait for it, or end it by delete({name!r})")
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = self._folder / f"{name}.json"
        kept.write_text(json.dumps(document), encoding="utf-8")
        file = kept if isinstance(manifest, Mapping) else Path(manifest).absolute()
        variables = {f"CLIENT_SECRET_{number}": value for number, value in enumerate(self._secrets.values())}
        options = [
            part
            for address, variable in zip(self._secrets, variables, strict=True)
            for part in ("--secret", f"{address}={variable}")
        ]
        command = [sys.executable, "-m", "llm2llm.cli", "run", str(file), "--workdir", str(self._workdir), *options]
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self.get(name)

    def list(self) -> Sequence[Run]:
        """Returns all runs of the work folder that a client has created, by name."""
        return [self.get(name) for name in self._names()]

    def get(self, name: str) -> Run:
        """Returns a run.

        Raises:
            ConfigurationError: there is none of this name.
        """
        created = self._created(name)
        contents = self._contents(created)
        phase, message = self._state(name, contents)
        best = contents.best if contents else None
        return Run(
            name=name,
            namespace=created.namespace,
            spec=contents.spec if contents else created.spec,
            phase=phase,
            message=message,
            iterations=[_iteration(each) for each in contents.iterations] if contents else [],
            best=best.iteration if best else None,
            model_uri=best.model_uri if best else "",
            digest=best.digest if best else "",
            artifacts=contents.uri if contents else "",
        )

    def get_logs(
        self, name: str, *, stage: str | None = None, iteration: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Yields the lines of a step's newest log, or what the run's process has printed; as they come if asked to
        follow, which is only possible for the process.

        Raises:
            ConfigurationError: there is no such run or log.
        """
        created = self._created(name)
        if stage is None and iteration is None:
            yield from self._printed(name, follow=follow)
            return
        if follow:
            raise ConfigurationError("the log of a step is written when it ends: follow the run, without a step")
        found = self._found(created)
        logs = [key for key in found.store.list(LOGS) if _is_of(key, stage, iteration)] if found else []
        if found is None or not logs or not isinstance(found.store, LocalStore):
            raise ConfigurationError(f"{name} has no log of this step yet")
        newest = max(map(found.store.path, logs), key=lambda path: path.stat().st_mtime)
        yield from newest.read_text(encoding="utf-8", errors="replace").splitlines()

    def wait(self, name: str, *, timeout: float | None = None) -> Run:
        """Waits until a run has ended or was stopped, and returns it.

        Raises:
            TimeoutError: it goes on after so many seconds.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        self._created(name)
        while self._is_running(name):
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{name} is running after {timeout:.0f} s")
            time.sleep(POLL_SECONDS)
        return self.get(name)

    def delete(self, name: str) -> None:
        """Ends a run's process, after a checkpoint, and forgets the run; its artifacts stay.

        Raises:
            ConfigurationError: there is none of this name, or a process that is not this client's works at it.
        """
        self._created(name)
        process = self._processes.pop(name, None)
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        elif self._is_running(name):
            raise ConfigurationError(f"another process works at {name}: end that one")
        for path in (self._folder / f"{name}.json", self._log(name)):
            path.unlink(missing_ok=True)

    @property
    def _folder(self) -> Path:
        return self._workdir / ".client"

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _names(self) -> Sequence[str]:
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def _created(self, name: str) -> LocalRun:
        names = self._names()
        if name not in names:
            known = ", ".join(names) or "none"
            raise ConfigurationError(
                f"there is no run {name} in {self._workdir}{did_you_mean(name, names)} (there are: {known})"
            )
        document: dict[str, Any] = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
        return validate_run(document)

    def _found(self, created: LocalRun) -> NamedRun | None:
        """Returns what there is of a run; None before it has begun."""
        for run in named_runs(str(self._workdir), "", os.environ):
            if run.record and (run.record.namespace, run.record.name) == (created.namespace, created.name):
                return run
        return None

    def _contents(self, created: LocalRun) -> Contents | None:
        found = self._found(created)
        try:
            return collect(found.view(), found.store) if found else None
        except StepError:  # between two writes of its process
            return None

    def _is_running(self, name: str) -> bool:
        process = self._processes.get(name)
        if process is not None:
            return process.poll() is None
        found = self._found(self._created(name)) if name in self._names() else None
        return found is not None and isinstance(found.store, LocalStore) and _is_locked(found.store.path(LOCK))

    def _state(self, name: str, contents: Contents | None) -> tuple[str, str]:
        """Returns the phase of a run, and what there is to say about it."""
        last = next((line for line in reversed(self._tail(name)) if line.strip()), "")
        if self._is_running(name):
            return ("Running" if contents and contents.inputs else "Pending"), last
        if contents and isinstance(contents.state, Finished):
            return "Succeeded", f"{contents.state.reason}: {contents.state.message}"
        process = self._processes.get(name)
        if process is not None and process.returncode > 0:
            return "Failed", last
        return HELD, "its process was stopped: create it again to go on"

    def _tail(self, name: str) -> Sequence[str]:
        try:
            data = self._log(name).read_bytes()[-_TAIL_BYTES:]
        except OSError:
            return []
        return [plain(line) for line in data.decode(errors="replace").splitlines()]

    def _printed(self, name: str, *, follow: bool) -> Iterator[str]:
        try:
            with self._log(name).open(encoding="utf-8", errors="replace") as log:
                while True:
                    running = self._is_running(name)
                    for line in log:
                        yield line.rstrip("\n")
                    if not (follow and running):
                        return
                    time.sleep(POLL_SECONDS)
        except FileNotFoundError:
            return


def _iteration(iteration: Iteration) -> IterationResult:
    evaluate, generate = iteration.evaluate, iteration.generate
    return IterationResult(
        index=iteration.index,
        name=iteration.name,
        train_rows=iteration.train.train_examples,
        metrics=evaluate.metrics if evaluate else (),
        judged=iteration.judged,
        mistakes=evaluate.mistakes if evaluate else None,
        kept=generate.kept if generate else None,
    )


def _is_of(key: str, stage: str | None, iteration: int | None) -> bool:
    """Returns whether a log is that of a step (layout.log_key)."""
    label = key.removeprefix(LOGS).partition("-a")[0]
    place, _, verb = label.rpartition("-")
    return (stage is None or verb == stage.lower()) and (iteration is None or place == f"i{iteration:03d}")


def _is_locked(path: Path) -> bool:
    """Returns whether another process holds the run (local/hold.py)."""
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none yet, or the file system has no locks
        return False
    return False
