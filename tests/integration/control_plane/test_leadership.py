"""Two replicas on a real API server: one writes, the other takes over, and an API outage restarts neither.

No node is needed: Jobs stay pending until a test ends their pod in the kubelet's place. The fail-over times are printed
(`pytest -s`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster, RequestError
from tests.cluster.jsonlines import read_json_lines
from tests.support import builders
from tests.support.install import RELEASE, SYSTEM, OperatorProcess

from llm2llm.api.run import API_VERSION, GROUP, KIND, PLURAL, VERSION
from llm2llm.records import Stage

OPERATOR_USER = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{RELEASE}"
OUTAGE_SECONDS = 300 if os.environ.get("LLM2LLM_SWEEP") == "full" else 30
"""How long the API server is away: past the lease, and every timeout of a request."""
_teams = itertools.count(1)


@pytest.fixture
def team(api: Cluster) -> str:
    name = f"team-{next(_teams)}"
    api.create_namespace(name)
    return name


@dataclass(frozen=True)
class Pair:
    """Two replicas and their roles when the test began."""

    leader: OperatorProcess
    standby: OperatorProcess

    @property
    def both(self) -> tuple[OperatorProcess, OperatorProcess]:
        return (self.leader, self.standby)


@pytest.fixture
def pair(api: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    environment = getattr(request, "param", {})
    with contextlib.suppress(RequestError):  # what a killed leader of the last test left
        api.request("DELETE", LEASE)
    replicas = [
        OperatorProcess(api, tmp_path / name, name=name, elected=True, environment=environment)
        for name in ("one", "two")
    ]
    with replicas[0], replicas[1]:
        wait("a leader", lambda: any(replica.leads() for replica in replicas))
        replicas.sort(key=lambda replica: not replica.leads())
        yield Pair(*replicas)
        for replica in replicas:
            print(f"--- {replica.identity}\n{replica.log()}")


def wait(what: str, done: Callable[[], object], seconds: float = 180) -> float:
    """Waits until `done()`; returns how long it took."""
    begin = time.monotonic()
    while not done():
        assert time.monotonic() - begin < seconds, f"no {what} after {seconds:.0f} s"
        time.sleep(0.05)
    return time.monotonic() - begin


def apply(api: Cluster, namespace: str, name: str) -> dict[str, Any]:
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": builders.spec()}
    created = api.request("POST", f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}", body)
    assert isinstance(created, dict)
    return created


def jobs(api: Cluster, namespace: str, run: str = "") -> list[str]:
    items = api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
    names = [str(item["metadata"]["name"]) for item in items]
    return [name for name in names if name.startswith(f"{run}-" if run else "")]


def end_prepare(api: Cluster, namespace: str, run: dict[str, Any]) -> None:
    """Ends the pod of Prepare with its report, as a kubelet would."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    wait("pod", lambda: api.request("GET", pods)["items"])
    [pod] = api.request("GET", pods)["items"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = builders.report(Stage.PREPARE, run_uid=run["metadata"]["uid"]).to_termination_message()
    ended = {"exitCode": 0, "reason": "Completed", "message": message, "startedAt": now, "finishedAt": now}
    container = {"name": "step", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    status = {
        "phase": "Succeeded",
        "startTime": now,
        "containerStatuses": [container | {"state": {"terminated": ended}}],
    }
    path = f"{pods}/{pod['metadata']['name']}/status"
    api.request("PATCH", path, {"status": status}, content_type="application/merge-patch+json")


@dataclass(frozen=True)
class Request:
    """One request of the operator, from the API server's audit log."""

    at: datetime
    by: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int

    @property
    def writes(self) -> bool:
        """Whether it asked for a change; the lease is not counted."""
        return self.verb not in ("get", "list", "watch") and self.resource != "leases"

    @property
    def wrote(self) -> bool:
        """Whether it changed something."""
        return self.writes and self.code < 400


def requests(api: Cluster, by: OperatorProcess | None = None) -> list[Request]:
    """What the operators asked for, in order; kopf's watches have another user agent."""
    found = []
    for entry in read_json_lines(api.audit_log):
        agent, about = entry.get("userAgent", ""), entry.get("objectRef", {})
        if entry["user"]["username"] == OPERATOR_USER and agent.startswith("llm2llm-operator ("):
            found.append(
                Request(
                    at=datetime.fromisoformat(entry["requestReceivedTimestamp"]),
                    by=agent.removeprefix("llm2llm-operator (").removesuffix(")"),
                    verb=entry["verb"],
                    resource=about["resource"],
                    namespace=about.get("namespace", ""),
                    name=about.get("name", ""),
                    code=entry["responseStatus"]["code"],
                )
            )
    return sorted((r for r in found if by is None or r.by == by.identity), key=lambda request: request.at)


def created_jobs(api: Cluster, namespace: str) -> list[str]:
    return [
        request.name
        for request in requests(api)
        if (request.namespace, request.resource, request.verb, request.code) == (namespace, "jobs", "create", 201)
    ]


def taken_at(api: Cluster, replica: OperatorProcess) -> datetime:
    """When a replica first had the lease."""
    return next(r.at for r in requests(api, replica) if (r.resource, r.verb, r.code) == ("leases", "update", 200))


def send(replica: OperatorProcess, number: signal.Signals) -> None:
    assert replica.child is not None
    os.kill(replica.child.pid, number)


def alive(replica: OperatorProcess) -> bool:
    return replica.child is not None and replica.child.alive()


def test_both_are_ready_and_one_writes(api: Cluster, pair: Pair, team: str):
    apply(api, team, "calm")
    wait("Job", lambda: jobs(api, team))
    assert all(replica.ready() and replica.healthy() for replica in pair.both)
    assert [replica.leads() for replica in pair.both] == [True, False]
    spec = api.request("GET", LEASE)["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == (pair.leader.identity, 15)
    assert any(request.writes for request in requests(api, pair.leader))
    assert {request.verb for request in requests(api, pair.standby)} == {"get", "list"}


def test_when_the_leader_is_killed_the_other_creates_the_next_job(api: Cluster, pair: Pair, team: str):
    run = apply(api, team, "first")
    wait("Job", lambda: jobs(api, team, "first"))
    pair.leader.kill()
    apply(api, team, "second")
    end_prepare(api, team, run)
    seconds = wait("Job of the second run", lambda: jobs(api, team, "second"))
    wait("training Job of the first run", lambda: len(created_jobs(api, team)) == 3)
    print(f"killed: next Job after {seconds:.1f} s")
    assert pair.standby.leads()
    assert len(set(created_jobs(api, team))) == 3
    taken = taken_at(api, pair.standby)
    after = [request for request in requests(api, pair.standby) if request.at > taken]
    first_write = next(request.at for request in after if request.writes)
    listed = {request.resource for request in after if request.verb == "list" and request.at < first_write}
    assert listed == {"augmentationruns", "jobs", "pods"}


def test_a_leader_that_is_told_to_end_gives_the_lease_back_and_the_other_takes_it(api: Cluster, pair: Pair, team: str):
    apply(api, team, "first")
    wait("Job", lambda: jobs(api, team, "first"))
    send(pair.standby, signal.SIGSTOP)
    try:
        send(pair.leader, signal.SIGTERM)
        wait("end of the old leader", lambda: not alive(pair.leader))
        assert not api.request("GET", LEASE)["spec"].get("holderIdentity")
        apply(api, team, "second")
    finally:
        send(pair.standby, signal.SIGCONT)
    seconds = wait("Job of the second run", lambda: jobs(api, team, "second"))
    print(f"given back: next Job after {seconds:.2f} s")
    assert len(created_jobs(api, team)) == len(set(created_jobs(api, team))) == 2


# so slow that all workers wait to write when the leader freezes, and all of them want to when it wakes up
@pytest.mark.parametrize("pair", [{"LLM2LLM_WRITE_RATE": "20", "LLM2LLM_WRITE_BURST": "5"}], indirect=True, ids=[""])
def test_a_leader_that_was_frozen_for_longer_than_its_lease_writes_nothing_when_it_wakes_up(
    api: Cluster, pair: Pair, team: str
):
    names = [f"r{number}" for number in range(25)]
    with ThreadPoolExecutor(8) as together:
        list(together.map(lambda name: apply(api, team, name), names[:20]))
    wait("first Jobs", lambda: jobs(api, team))  # the leader is in the middle of its writes
    send(pair.leader, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        for name in names[20:]:
            apply(api, team, name)
        seconds = wait("Jobs of all runs", lambda: len(jobs(api, team)) == len(names))
        print(f"frozen: all Jobs after {seconds:.1f} s")
        apply(api, team, "while-frozen")
        time.sleep(max(0.0, begin + 20 - time.monotonic()))
    finally:
        send(pair.leader, signal.SIGCONT)
    apply(api, team, "afterwards")
    wait("Job of the last run", lambda: jobs(api, team, "afterwards"))
    time.sleep(3)
    taken = taken_at(api, pair.standby)
    # One that waited for its connection when it was frozen is on its way at once, and canceled (504), or outdated (409).
    assert not [request for request in requests(api, pair.leader) if request.wrote and request.at > taken]
    assert [replica.leads() for replica in pair.both] == [False, True]
    assert all(replica.ready() and replica.healthy() for replica in pair.both)
    assert len(created_jobs(api, team)) == len(set(created_jobs(api, team))) == len(names) + 2


def test_fault_06_while_the_api_server_is_away_both_stay_healthy_and_afterwards_the_run_goes_on(
    api: Cluster, pair: Pair, team: str
):
    run = apply(api, team, "long")
    wait("Job", lambda: jobs(api, team))
    server = api.children["apiserver"].pid
    os.kill(server, signal.SIGSTOP)
    try:
        leaders = []
        for _ in range(2 * OUTAGE_SECONDS):
            assert all(alive(replica) and replica.healthy() and replica.ready() for replica in pair.both)
            leaders.append(sum(replica.leads() for replica in pair.both))
            time.sleep(0.5)
        assert leaders == sorted(leaders, reverse=True)  # who has lost the lease does not believe to have it again
        assert leaders[-1] == 0
    finally:
        os.kill(server, signal.SIGCONT)
    print(
        f"away: a leader {wait('leader', lambda: any(r.leads() for r in pair.both)):.1f} s after the API server is back"
    )
    end_prepare(api, team, run)
    print(f"away: next Job after {wait('training Job', lambda: len(created_jobs(api, team)) == 2):.1f} s more")
    assert all(alive(replica) and replica.healthy() for replica in pair.both)
    assert sum(replica.leads() for replica in pair.both) == 1
    assert len(set(created_jobs(api, team))) == 2
