"""An API server that throttles, refuses, or whose watches end badly: a run goes on, and each Job exists once.

The operator speaks through a proxy that gives the bad answers; all others are the API server's own.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.cluster.controlplane import Cluster
from tests.support.apiproxy import ApiProxy, Reply
from tests.support.install import RELEASE, SYSTEM, OperatorProcess
from tests.support.podender import PodEnder
from tests.support.runs import Runs, condition

ONE_OF_EACH = {"prepare-a0": 1, "i000-train-a0": 1, "i000-evaluate-a0": 1}
EXPIRED = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "code": 410,
    "reason": "Expired",
    "message": "too old resource version",
}
BROKEN = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "code": 500,
    "reason": "InternalError",
    "message": "etcdserver: leader changed",
}


@dataclass(frozen=True)
class Bench:
    """An operator behind a proxy, and the runs that it serves."""

    proxy: ApiProxy
    operator: OperatorProcess
    runs: Runs

    def created(self, name: str) -> Counter[str]:
        """Jobs that were created for a run, without its name and hash."""
        posts = [w for w in self.proxy.writes if (w.verb, w.resource, w.code) == ("POST", "jobs", 201)]
        return Counter(
            post.name.removeprefix(f"{name}-").split("-", 1)[1] for post in posts if post.name.startswith(f"{name}-")
        )


@pytest.fixture
def start(api: Cluster, runs: Runs, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Starts an operator behind a proxy; with `reply` as its answers from the start."""
    proxy = ApiProxy(api, tmp_path / "proxy", namespace=SYSTEM, service_account=RELEASE)
    operators = []

    def started(*, reply: Callable[[str, str], Reply | None] | None = None, **environment: str) -> Bench:
        if reply:
            proxy.reply = reply
        settings = {"KUBECONFIG": str(proxy.kubeconfig), "LLM2LLM_NAMESPACES": runs.namespace, **environment}
        operators.append(OperatorProcess(api, tmp_path / "operator", environment=settings))
        operators[-1].start()
        return Bench(proxy, operators[-1], runs)

    with PodEnder(api, seconds=0.3), proxy:
        try:
            yield started
        finally:
            for operator in operators:
                print(operator.log())
                operator.stop()


def watched(path: str) -> str:
    """The collection that a request watches, empty where it watches none."""
    parts = urlsplit(path)
    return parts.path.rsplit("/", 1)[1] if parse_qs(parts.query).get("watch") == ["true"] else ""


def first(count: int, reply: Reply, asked: Callable[[str, str], object]) -> Callable[[str, str], Reply | None]:
    """This reply to so many of the requests that are asked for."""
    left = itertools.count(count, -1)
    return lambda method, path: reply if asked(method, path) and next(left) > 0 else None


def test_fault_05_throttled_writes_wait_and_nothing_is_told_of_it(
    start: Callable[..., Bench],
):
    bench = start()

    def writes(method: str, path: str) -> bool:
        return method in ("POST", "PATCH") and "/events" not in path

    bench.proxy.reply = first(3, Reply(429, {"Retry-After": "1"}), writes)
    bench.runs.create("x", maxIterations=1)
    status = bench.runs.wait(
        "x", lambda status: condition(status, "Progressing").get("status") == "False" or "phase" in status, timeout=180
    )
    assert condition(status, "Progressing")["status"] == "True"
    assert bench.runs.wait_for_end("x")["phase"] == "Succeeded"
    assert bench.created("x") == ONE_OF_EACH
    assert bench.operator.metrics()["llm2llm_api_errors_total", "429"] == 3


def test_fault_11_a_token_that_is_refused_for_a_moment_ends_nothing(start: Callable[..., Bench]):
    bench = start()
    bench.runs.create("x", maxIterations=1)
    bench.runs.wait("x", lambda status: "currentStep" in status)
    before = bench.operator.child
    bench.proxy.reply = lambda _method, _path: Reply(401)
    bench.proxy.cut_watches()
    time.sleep(3)
    bench.proxy.reply = lambda _method, _path: None
    assert bench.runs.wait_for_end("x")["phase"] == "Succeeded"
    assert bench.created("x") == ONE_OF_EACH
    assert bench.operator.child is before
    assert bench.operator.healthy()


def test_fault_08_09_watches_that_end_with_an_error_are_opened_again_and_what_happened_meanwhile_is_found(
    start: Callable[..., Bench],
):
    bench = start()
    for name in ("after-410", "after-500", "gone"):
        bench.runs.create(name, maxIterations=1, suspend=True)
        bench.runs.wait(name, lambda status: status.get("phase") == "Suspended")
    time.sleep(6)  # the early list 5 s after the start would find everything by itself; the next one is far away
    for name, error in (("after-410", EXPIRED), ("after-500", BROKEN)):
        bench.proxy.reply = lambda _method, path: Reply(503) if watched(path) else None
        bench.proxy.cut_watches()
        bench.runs.patch(name, suspend=False)
        if name == "after-410":
            bench.runs.delete("gone")
        time.sleep(1)
        event = {"type": "ERROR", "object": error}
        bench.proxy.reply = first(
            1, Reply(200, events=(event,)), lambda _method, path: watched(path) == "augmentationruns"
        )
        bench.runs.wait(name, lambda status: status.get("phase") not in ("Suspended", "Pending"))
    deadline = time.monotonic() + 30  # a list of our own may have found it before kopf came to its end
    while (restarts := bench.operator.metrics()["llm2llm_watch_restarts_total",]) < 1 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert restarts == 1  # for the 500; a 410 is kopf's own business
    for name in ("after-410", "after-500"):
        assert bench.runs.wait_for_end(name)["phase"] == "Succeeded"
        assert bench.created(name) == ONE_OF_EACH
    assert bench.created("gone") == {}


def test_fault_10_with_watches_that_say_nothing_the_next_list_finds_what_happened(start: Callable[..., Bench]):
    bench = start(
        reply=lambda _method, path: Reply(200, silent=True) if watched(path) else None, LLM2LLM_RESYNC_SECONDS="2"
    )
    bench.runs.create("x", maxIterations=1)
    assert bench.runs.wait_for_end("x")["phase"] == "Succeeded"
    assert bench.created("x") == ONE_OF_EACH
