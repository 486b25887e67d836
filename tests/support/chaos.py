"""Many runs at once while everything between two operators and the API server fails, and the operators are killed.

    python -m tests.support.chaos --runs 60 --seconds 90 [--seed N]

A calm operator beside them has a few of the same runs in a namespace of its own: how they end, which Jobs they create and
how much is written for each is what the others are compared with.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import Cluster, RequestError
from tests.cluster.jsonlines import read_json_lines
from tests.support.apiproxy import ApiProxy
from tests.support.install import RELEASE, SYSTEM, OperatorProcess, install
from tests.support.podender import PodEnder
from tests.support.runs import Runs
from tests.support.storm import Gust, Storm
from tests.support.sweep import bare, lasting

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{RELEASE}"
ITERATIONS = 3
JOBS = 3 * ITERATIONS
CALM_RUNS = 3
CALM_SHARE = 0.65
"""So much of the storm's time a run takes without one: nobody leads for 15 s after each leader that was killed."""
JOB_CONTROLLER_SECONDS = 2.0
"""About what a Job takes beside its container, while the machine has other things to do."""
PATIENCE_SECONDS = 300.0
"""So long after the storm we wait for the last run: a limit that only ends a hang. What it takes depends on who else uses
the machine, and on whether a leader was killed last; the table says it."""
WRITES_ALLOWED = 1.3
PAUSE_BETWEEN_KILLS = (8.0, 18.0)
LEADER_SHARE = 0.5
_names = itertools.count(1)


@dataclass(frozen=True)
class Flock:
    """The runs of one namespace when all is over.

    Attributes:
        statuses: of each run, without what is fleeting.
        jobs: of each run, how often a pod of each Job ran to its end.
        created: of each run, how often the API server answered 201 to the creation of each Job. One whose asker was
            killed meanwhile has another answer, so less than once proves nothing.
        writes: all that was written for them, those that failed included.
    """

    statuses: dict[str, dict[str, Any]]
    jobs: dict[str, Counter[str]]
    created: dict[str, Counter[str]]
    writes: int

    def created_twice(self) -> list[str]:
        """Jobs that were, or whose pods ran to their end twice."""
        both = {name: self.jobs[name] | self.created[name] for name in self.jobs}
        return [f"{name} {job}" for name, jobs in both.items() for job, times in jobs.items() if times > 1]


@dataclass(frozen=True)
class Outcome:
    """How it ended; `seconds` are those from the end of the storm to the end of the last run."""

    calm: Flock
    struck: Flock
    faults: Counter[Gust]
    seconds: float

    @property
    def ratio(self) -> float:
        """Writes a run, in the storm and without."""
        calm, struck = (flock.writes / len(flock.statuses) for flock in (self.calm, self.struck))
        return struck / calm

    def problems(self) -> list[str]:
        """What is not as it should be."""
        expected = next(iter(self.calm.statuses.values()))
        jobs = next(iter(self.calm.jobs.values()))
        found = [f"no fault of the kind {gust!r}" for gust in Gust if not self.faults[gust]]
        found += [f"a calm run ended as {expected.get('phase')}"] if expected.get("phase") != "Succeeded" else []
        for name, status in self.struck.statuses.items():
            if status != expected:
                found.append(f"{name} ended otherwise: {_differences(expected, status)[:300]}")
            ran = self.struck.jobs[name]
            if ran != jobs:
                found.append(f"{name}: Jobs {dict(ran - jobs)} too many, {dict(jobs - ran)} missing")
        found += [f"created twice: {job}" for job in self.struck.created_twice()]
        if self.ratio > WRITES_ALLOWED:
            found.append(f"{self.ratio:.2f} times the writes of a calm run")
        return found

    def table(self) -> str:
        """What was injected, and what came of it."""
        lines = ["| fault | times |\n|---|---|", *(f"| {gust} | {self.faults[gust]} |" for gust in Gust)]
        expected = next(iter(self.calm.statuses.values()))
        same = sum(status == expected for status in self.struck.statuses.values())
        ran = sum(jobs.total() for jobs in self.struck.jobs.values())
        lines += [
            "\n| outcome | |\n|---|---|",
            f"| runs that ended like an undisturbed one | {same} of {len(self.struck.statuses)} |",
            f"| Jobs; created twice | {ran}; {len(self.struck.created_twice())} |",
            f"| last run ended after the storm | {self.seconds:.0f} s |",
            f"| API writes per run, relative to an undisturbed one | {self.ratio:.2f} |",
        ]
        return "\n".join(lines)


def play(cluster: Cluster, folder: Path, *, runs: int, seconds: float, seed: int) -> Outcome:
    """Plays one storm; the chart is installed, and no other operator takes part in its election.

    Args:
        cluster: without a node.
        folder: for logs and certificates.
        runs: how many at once.
        seconds: how long the storm rages; the runs are made to take about as long.
        seed: of the storm and of who is killed when.
    """
    number = next(_names)
    calm, struck = (Runs(cluster, f"{kind}-{number}") for kind in ("calm", "storm"))
    for flock in (calm, struck):
        cluster.create_namespace(flock.namespace)
    with contextlib.suppress(RequestError):  # what another test's operator left
        cluster.request("DELETE", LEASE)
    storm, start = Storm(seed), cluster.audit_log.stat().st_size
    with contextlib.ExitStack() as stack:
        ender = stack.enter_context(
            PodEnder(cluster, seconds=max(0.2, CALM_SHARE * seconds / JOBS - JOB_CONTROLLER_SECONDS))
        )

        def operator(name: str, namespace: str, storm: Storm | None) -> tuple[ApiProxy, OperatorProcess]:
            proxy = ApiProxy(cluster, folder / name, namespace=SYSTEM, service_account=RELEASE, storm=storm)
            stack.enter_context(proxy)
            environment = {"KUBECONFIG": str(proxy.kubeconfig), "LLM2LLM_NAMESPACES": namespace}
            process = OperatorProcess(
                cluster, folder / name, name=name, elected=storm is not None, environment=environment
            )
            return proxy, stack.enter_context(process)

        calm_proxy, _ = operator("calm", calm.namespace, None)
        replicas = [operator(name, struck.namespace, storm) for name in ("one", "two")]
        names = {calm: [f"run-{n:03d}" for n in range(CALM_RUNS)], struck: [f"run-{n:03d}" for n in range(runs)]}
        for flock, mine in names.items():
            for name in mine:
                flock.create(name, maxIterations=ITERATIONS)
        proxies, processes = [proxy for proxy, _ in replicas], [process for _, process in replicas]
        _rage(storm, proxies, processes, seconds, random.Random(seed))
        began = time.monotonic()
        ended = {flock: _ended(flock, mine, began + PATIENCE_SECONDS) for flock, mine in names.items()}
        took = time.monotonic() - began
        time.sleep(1)  # the last clean-up
        created = _created(cluster, start)
    ran: dict[tuple[str, str], Counter[str]] = {}
    for namespace, job, _ in ender.ended:
        _count(ran, namespace, job)
    writes = {calm: len(calm_proxy.writes), struck: sum(len(proxy.writes) for proxy, _ in replicas)}
    calm_end, struck_end = (
        Flock(ended[flock], _of(ran, flock, names[flock]), _of(created, flock, names[flock]), writes[flock])
        for flock in (calm, struck)
    )
    for flock in (calm, struck):
        cluster.request("DELETE", f"/api/v1/namespaces/{flock.namespace}")
    return Outcome(calm_end, struck_end, storm.struck, took)


def _rage(
    storm: Storm, proxies: list[ApiProxy], replicas: list[OperatorProcess], seconds: float, chance: random.Random
) -> None:
    """The storm, with a kill every few seconds: the leader more often than the other one, which is then started again."""
    until = time.monotonic() + seconds
    storm.rages = True
    for proxy in proxies:  # a watch from before would last through all of it
        storm.cut(proxy.cut_watches())
    try:
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, chance.uniform(*PAUSE_BETWEEN_KILLS)))
            leaders = [replica for replica in replicas if replica.leads()]
            victim = leaders[0] if leaders and chance.random() < LEADER_SHARE else chance.choice(replicas)
            victim.kill()
            storm.kill()
            victim.start()
    finally:
        storm.rages = False


def _ended(flock: Runs, names: list[str], deadline: float) -> dict[str, dict[str, Any]]:
    """The statuses once all have ended, or when it is too late."""
    while True:
        found = {run["metadata"]["name"]: run for run in flock.all()}
        statuses = {name: found[name].get("status") or {} for name in names}
        over = all(status.get("phase") in ("Succeeded", "Failed") for status in statuses.values())
        if over or time.monotonic() > deadline:
            return {name: lasting(statuses[name], name, found[name]["metadata"]["uid"]) for name in names}
        time.sleep(0.5)


def _created(cluster: Cluster, start: int) -> dict[tuple[str, str], Counter[str]]:
    """By namespace and run, how often the API server answered 201 to the creation of each Job."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for entry in read_json_lines(cluster.audit_log, start):
        about = entry.get("objectRef") or {}
        if (entry["verb"], about.get("resource"), entry["responseStatus"]["code"]) == ("create", "jobs", 201):
            _count(found, about["namespace"], about["name"])
    return found


def _count(found: dict[tuple[str, str], Counter[str]], namespace: str, job: str) -> None:
    run = job[: len("run-000")]
    found.setdefault((namespace, run), Counter())[bare(job, run)] += 1


def _of(found: dict[tuple[str, str], Counter[str]], flock: Runs, names: list[str]) -> dict[str, Counter[str]]:
    return {name: found.get((flock.namespace, name), Counter()) for name in names}


def _differences(one: Any, other: Any, path: str = "status") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        parts = [
            _differences(one.get(k), other.get(k), f"{path}.{k}") for k in one | other if one.get(k) != other.get(k)
        ]
        return "; ".join(parts)
    return f"{path}: {one!r} and {other!r}"


def main(argv: Sequence[str]) -> int:
    """One storm on a cluster of its own; 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="llm2llm-chaos-"))
    print(f"seed {options.seed}, logs in {folder}", flush=True)
    with Cluster() as cluster:
        install(cluster)
        outcome = play(cluster, folder, runs=options.runs, seconds=options.seconds, seed=options.seed)
    print(outcome.table())
    problems = outcome.problems()
    print("\n".join(problems[:10]))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
