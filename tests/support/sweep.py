"""Every write of a run, each struck by every fault: what the crash sweep does, without what it asserts.

Each worker has a namespace, a proxy and an operator of its own, and plays its cases one after the other; an operator
that was killed is started again and goes on to the next case. The Job controller waits a second before it says that a
Job ended, so several workers beside each other keep even two cores busy.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import Cluster
from tests.support import builders
from tests.support.apiproxy import ApiProxy, Fault, Write
from tests.support.install import RELEASE, SYSTEM, OperatorProcess
from tests.support.runs import Runs

FLEETING = frozenset({
    "startTime", "completionTime", "lastTransitionTime", "since", "activeSince", "activeSeconds", "jobUID", "artifactsUri",
})  # fmt: skip
"""Fields of a status that differ from run to run: times, UIDs and what is made of the run's name."""
WITH_TEST = builders.spec()["data"] | {"test": {"uri": "s3://b/test.jsonl"}}
BUDGET = {"maxTeacherTokens": 10**9, "maxGPUHours": "1000", "onExceeded": "Complete"}
"""Never reached: that a run is held to one must change nothing else."""


@dataclass(frozen=True)
class Case:
    """A fault at the n-th write of a run, from 1; 0 is the run that nothing disturbs."""

    nth: int
    fault: Fault

    def __str__(self) -> str:
        return f"write {self.nth}, {self.fault}" if self.nth else "undisturbed"


@dataclass(frozen=True)
class Result:
    """How the run of a case ended.

    Attributes:
        status: the final status without what is fleeting.
        jobs: names of the Jobs that are left, without the run's own prefix.
        created: how often the API server answered 201 to the creation of a Job, by that name.
        writes: all that the operator wrote.
        struck: whether the run came to the n-th write.
        seconds: from the creation of the run to its end.
    """

    case: Case
    status: dict[str, Any]
    jobs: tuple[str, ...]
    created: Counter[str]
    writes: tuple[Write, ...]
    struck: bool
    seconds: float


class Worker:
    """A namespace with an operator behind a proxy."""

    def __init__(self, cluster: Cluster, folder: Path, number: int) -> None:
        self._cluster = cluster
        self._runs = Runs(cluster, f"sweep-{number}")
        self.proxy = ApiProxy(cluster, folder, namespace=SYSTEM, service_account=RELEASE)
        environment = {"KUBECONFIG": str(self.proxy.kubeconfig), "LLM2LLM_NAMESPACES": self._runs.namespace}
        self._operator = OperatorProcess(cluster, folder, environment=environment)
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Makes its namespace and starts proxy and operator."""
        self._cluster.create_namespace(self._runs.namespace)
        self.proxy.__enter__()
        self._operator.start()

    def stop(self) -> None:
        """Ends operator and proxy."""
        self._operator.stop()
        self.proxy.__exit__(None, None, None)
        self._cluster.request("DELETE", f"/api/v1/namespaces/{self._runs.namespace}")

    def play(self, case: Case) -> Result:
        """One run from its creation until nothing is left to do."""
        name = f"run-{next(self._numbers):03d}"
        self.proxy.arm(case.nth, case.fault, self._operator.kill)
        began = time.monotonic()
        uid = self._runs.create(name, data=WITH_TEST, budget=BUDGET)["metadata"]["uid"]
        if case.nth and self._waits_for_strike(name) and case.fault is not Fault.ANSWER_LOST:
            self._operator.start()
        status = self._runs.wait_for_end(name, timeout=90)
        jobs = self._settled(name)
        self._runs.delete(name)
        writes = tuple(self.proxy.writes)
        created = Counter(bare(w.name, name) for w in writes if (w.verb, w.resource, w.code) == ("POST", "jobs", 201))
        return Result(case, lasting(status, name, uid), jobs, created, writes, self.proxy.struck.is_set(),
                      time.monotonic() - began)  # fmt: skip

    def _waits_for_strike(self, name: str) -> bool:
        """Until the fault has happened; false where the run ended without coming to that write."""
        quiet = 0
        while not self.proxy.struck.wait(0.5):
            quiet = quiet + 1 if self._runs.status(name).get("phase") == "Succeeded" else 0
            if quiet > 4:
                return False
        return True

    def _settled(self, name: str) -> tuple[str, ...]:
        """The Jobs that are left once the operator has cleaned up; it keeps the newest for its log."""
        deadline = time.monotonic() + 10
        while len(jobs := self._runs.jobs(name)) > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        return tuple(sorted(bare(job["metadata"]["name"], name) for job in jobs))


class Workers:
    """Several workers beside each other, in threads that live as long as their operators."""

    def __init__(self, cluster: Cluster, folder: Path, count: int) -> None:
        self._pool = ThreadPoolExecutor(count)
        self._workers = [Worker(cluster, folder / str(number), number) for number in range(count)]

    def __enter__(self) -> Workers:
        try:
            list(self._pool.map(Worker.start, self._workers))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._pool:
            list(self._pool.map(Worker.stop, self._workers))

    def play(self, cases: Iterable[Case]) -> list[Result]:
        """Plays the cases; the first that raises ends it."""
        waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
        for case in cases:
            waiting.put(case)
        broken = threading.Event()

        def work(worker: Worker) -> list[Result]:
            done = []
            try:
                while not broken.is_set():
                    done.append(worker.play(waiting.get_nowait()))
            except queue.Empty:
                return done
            except BaseException:
                broken.set()
                raise
            return done

        return [result for results in self._pool.map(work, self._workers) for result in results]


def lasting(status: dict[str, Any], name: str, uid: str) -> dict[str, Any]:
    """A status without times, UIDs and the run's own name: what must be the same after every fault."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in sorted(value.items()) if key not in FLEETING}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    text = json.dumps(strip(status)).replace(uid, "UID").replace(name, "NAME")
    return dict(json.loads(text))


def bare(job: str, run: str) -> str:
    """A Job's name without the run's name and hash."""
    return job.removeprefix(f"{run}-").split("-", 1)[1]
