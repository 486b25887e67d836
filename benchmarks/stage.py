"""The stage of a control plane benchmark: API server, operator processes, the stand-in that ends Jobs, and their figures.

Scheduler and controller manager are stopped once the namespaces are there: `jobender` does their part.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.cluster.apiclient import ApiClient
from tests.cluster.controlplane import Cluster
from tests.cluster.processes import Child, spawn, stop
from tests.support import builders
from tests.support.install import CHECKOUT, OperatorProcess, install
from tests.support.runs import Runs

from benchmarks import collector
from benchmarks.seeding import Original, copies, read
from llm2llm.api.run import API_VERSION, GROUP, KIND, PLURAL, VERSION

RUNS = f"/apis/{GROUP}/{VERSION}"
TICKS = os.sysconf("SC_CLK_TCK")
HELD_SHARE = 10
"""Of so many runs at rest one is held, the others are finished."""
Buckets = list[tuple[float, float]]
"""A histogram's upper bounds, and the samples up to each."""
APPLIERS = 16
"""Runs that are applied at the same time."""


class Stage(contextlib.ExitStack):
    """An API server with the chart and the namespaces of a benchmark; leaves no process, however it ends."""

    def __init__(self, namespaces: list[str], quiet: list[str] | None = None) -> None:
        """Takes the namespaces of runs at work, and those of runs at rest."""
        super().__init__()
        self.namespaces = namespaces
        self.quiet = quiet or []

    def __enter__(self) -> Self:
        super().__enter__()
        os.environ.setdefault("GOGC", "400")  # an API server that collects its garbage less often: the cores are few
        os.environ.setdefault("GOMEMLIMIT", "8GiB")
        os.environ["GODEBUG"] = collector.TRACE
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="llm2llm-bench-")))
        self.cluster = self.enter_context(Cluster())
        install(self.cluster)
        for name in (*self.namespaces, *self.quiet):
            self.cluster.create_namespace(name)
        stop([self.cluster.children[part] for part in ("scheduler", "controller-manager")])
        return self

    def machine(self, operator: OperatorProcess, ender: JobEnderProcess) -> Machine:
        """Begins to count who uses the machine."""
        assert operator.child is not None
        servers = {name: self.cluster.children[name] for name in ("apiserver", "etcd")}
        return Machine({"operator": operator.child, **servers, "stand-in": ender.child})

    def operator(self, name: str = "operator", *, elected: bool = False) -> OperatorProcess:
        """Starts an operator and waits until it is ready."""
        return self.enter_context(OperatorProcess(self.cluster, self.folder / name, name=name, elected=elected))

    def run_module(self, name: str, *arguments: str) -> Child:
        """Starts one of our own clients as a process."""
        path = os.pathsep.join(str(CHECKOUT / part) for part in (".", "images", "operator"))
        command = [sys.executable, "-m", f"benchmarks.{name}", "--kubeconfig", str(self.cluster.kubeconfig), *arguments]
        child = spawn(name, command, folder=self.folder, env=os.environ | {"PYTHONPATH": path})
        self.callback(stop, [child])
        return child

    def ender(self, rate: float, first: int) -> JobEnderProcess:
        """Starts the stand-in that ends Jobs."""
        return JobEnderProcess(self.run_module, self.folder / "jobender.json", rate, first)

    def bare_client(self) -> None:
        """Starts the client that the operator is compared with, and waits until it watches."""
        child = self.run_module("bareclient")
        while not child.log_tail():
            time.sleep(0.05)

    def apply(self, names: list[str], iterations: int, namespaces: Sequence[str] = (), **spec: Any) -> float:
        """Creates runs, in turn in each namespace, as fast as the API server takes them; returns the seconds it took."""
        began = time.monotonic()
        asyncio.run(self._apply(names, namespaces or self.namespaces, builders.spec(maxIterations=iterations, **spec)))
        return time.monotonic() - began

    async def _apply(self, names: list[str], namespaces: Sequence[str], spec: dict[str, Any]) -> None:
        waiting = iter(names)
        async with ApiClient(self.cluster.kubeconfig) as api, asyncio.TaskGroup() as tasks:

            async def work() -> None:
                for name in waiting:
                    namespace = namespaces[int(name.rsplit("-", 1)[1]) % len(namespaces)]
                    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
                    await api.request("POST", f"{RUNS}/namespaces/{namespace}/{PLURAL}", body)

            for _ in range(APPLIERS):
                tasks.create_task(work())

    def wait_for_success(self, runs: int, seconds: float = 120) -> None:
        """Waits until so many runs succeeded, or raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (phases := self.phases()).get("Succeeded", 0) < runs:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all runs succeeded: {phases}")
            time.sleep(1)

    def originals(self, iterations: int) -> list[Original]:
        """One run that the operator brings to its end, and one that waits for a person in its middle."""
        namespace = self.namespaces[0]
        runs = Runs(self.cluster, namespace)
        runs.create("done-00000", maxIterations=iterations)
        runs.create("held-00000", maxIterations=iterations, approval={"mode": "BeforeTraining"})
        runs.wait_for_end("done-00000", timeout=120)
        runs.wait("held-00000", lambda status: status.get("phase") == "Suspended", timeout=120)
        time.sleep(1)  # the last clean-up

        async def look() -> list[Original]:
            async with ApiClient(self.cluster.kubeconfig) as api:
                done, held = [await read(api, namespace, f"{name}-00000") for name in ("done", "held")]
                return [*[done] * (HELD_SHARE - 1), held]

        return asyncio.run(look())

    def seed(self, originals: list[Original], names: list[str]) -> float:
        """Creates copies; returns how many seconds that took."""

        async def create() -> None:
            async with ApiClient(self.cluster.kubeconfig) as api:
                await copies(api, originals, names, self.quiet)

        began = time.monotonic()
        asyncio.run(create())
        return time.monotonic() - began

    def restart(self, operator: OperatorProcess) -> float:
        """Kills an operator and starts it again; returns how many seconds it took from there to be ready."""
        operator.kill()
        operator.start()
        return operator.seconds_to_ready

    def fail_over(self, operator: OperatorProcess, name: str, iterations: int, settling: float) -> float:
        """Kills the leader; returns the seconds until the other replica created the Job of a run that came meanwhile."""
        wait_for("a leader", operator.leads, 180)
        other = self.operator("other", elected=True)
        time.sleep(settling)
        operator.kill()
        began = time.monotonic()
        self.apply([name], iterations)
        runs = Runs(self.cluster, self.namespaces[0])
        wait_for("the first Job", lambda: runs.jobs(name), 120)
        seconds = time.monotonic() - began
        wait_for("sign that the other one leads", other.leads, 10)
        return seconds

    def phases(self) -> dict[str, int]:
        """How many of the runs at work are in which phase."""
        found: dict[str, int] = {}
        for namespace in self.namespaces:
            for run in self.cluster.request("GET", f"{RUNS}/namespaces/{namespace}/{PLURAL}")["items"]:
                phase = run.get("status", {}).get("phase", "-")
                found[phase] = found.get(phase, 0) + 1
        return found


class JobEnderProcess:
    """The stand-in, and its counts."""

    def __init__(self, start: Callable[..., Child], out: Path, rate: float, first: int) -> None:
        self._start = start
        self._out = out
        self.child = self._begin(rate, first)

    def stop(self) -> None:
        """Ends no more Jobs."""
        stop([self.child])

    def restart(self, rate: float, first: int) -> None:
        """Begins anew, with counts from 0."""
        self.child = self._begin(rate, first)

    def _begin(self, rate: float, first: int) -> Child:
        self._out.unlink(missing_ok=True)
        return self._start("jobender", "--rate", str(rate), "--first", str(first), "--out", str(self._out))

    def counts(self) -> dict[str, int]:
        """Jobs ended, running, and turns that it missed."""
        return dict(json.loads(self._out.read_text())) if self._out.exists() else {"ended": 0, "began": 0}

    def wait(self, name: str, count: int, seconds: float) -> None:
        """Waits until that count is reached. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while self.counts()[name] < count:
            if time.monotonic() > deadline or not self.child.alive():
                raise TimeoutError(f"{count} {name} not reached: {self.counts()}\n{self.child.log_tail()}")
            time.sleep(0.2)


class Machine:
    """Who used how many cores from one moment on."""

    def __init__(self, children: dict[str, Child]) -> None:
        self._pids = {name: child.pid for name, child in children.items()} | {"this process": os.getpid()}
        self._began = time.monotonic()
        self._ticks = {name: ticks(pid) for name, pid in self._pids.items()}
        self._busy = busy_ticks()

    def cores(self) -> dict[str, float]:
        """Cores used since then by each process, and by everything that is not ours."""
        passed = (time.monotonic() - self._began) * TICKS
        used = {name: (ticks(pid) - self._ticks[name]) / passed for name, pid in self._pids.items()}
        return used | {"others": (busy_ticks() - self._busy) / passed - sum(used.values())}


class Usage:
    """CPU and memory of an operator process from one moment on, sampled twice a second."""

    def __init__(self, operator: OperatorProcess) -> None:
        assert operator.child is not None
        self._pid = operator.child.pid
        self._port = operator.port
        self._cpu = ticks(self._pid)
        self.peak_mib = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Samples no more."""
        self._stopped.set()
        self._thread.join()

    def cpu_seconds(self) -> float:
        """Seconds of CPU since the beginning."""
        return (ticks(self._pid) - self._cpu) / TICKS

    def mib(self) -> float:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def high_water_mib(self) -> float:
        """The most resident memory that the process ever had, by the kernel's count."""
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def loop_lag(self) -> Buckets:
        """Buckets of the event loop's lag: upper bound in seconds, and the samples up to it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith("llm2llm_loop_lag_seconds_bucket")]
        return [(float(line.split('le="')[1].split('"')[0]), float(line.rsplit(" ", 1)[1])) for line in found]

    def _sample(self) -> None:
        while not self._stopped.wait(0.5):
            with contextlib.suppress(OSError, IndexError):
                self.peak_mib = max(self.peak_mib, self.mib())


def wait_for(what: str, done: Callable[[], object], seconds: float) -> None:
    """Waits until `done()`, or raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} after {seconds:.0f} s")
        time.sleep(0.05)


def ticks(pid: int) -> int:
    """CPU that a process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def busy_ticks() -> int:
    """CPU that the whole machine used so far, what the host took from it included."""
    user, nice, system, _, _, interrupts, soft, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    return user + nice + system + interrupts + soft + stolen


def lag_percentile(before: Buckets, after: Buckets, share: float) -> float:
    """The upper bound of the bucket that holds this share of the samples between two readings."""
    counts = [(bound, count - old) for (bound, count), (_, old) in zip(after, before, strict=True)]
    total = counts[-1][1]
    return next(bound for bound, count in counts if count >= share * total)
