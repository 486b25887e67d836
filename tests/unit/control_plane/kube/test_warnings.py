"""The warnings of a namespace are listed once for all of its runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.support import virtualtime
from tests.support.builders import NOW

from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.kube.errors import ApiUnavailable
from llm2llm_operator.kube.warnings import FRESH_SECONDS, Warnings
from llm2llm_operator.model.observation import Event


def warning(uid: str, reason: str, **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"},
        "type": "Warning",
        "reason": reason,
        "involvedObject": {"kind": "Pod", "uid": uid},
    } | changes


class Cluster:
    """Counts the lists of each namespace, and refuses the first `failures` of them."""

    def __init__(self, failures: int = 0, others: Sequence[dict[str, Any]] = (), seconds: float = 1) -> None:
        self.asked: list[str] = []
        self.failures = failures
        self.others = others
        self.seconds = seconds

    async def warnings(self, namespace: str) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(namespace)
        await asyncio.sleep(self.seconds)
        if len(self.asked) <= self.failures:
            raise ApiUnavailable(503, "", "away")
        for uid in ("a", "b", "a"):
            yield warning(uid, f"{uid}{len(self.asked)}")
        for event in self.others:
            yield event


def reader(cluster: Cluster) -> Warnings:
    api: KubeClient = cluster  # type: ignore[assignment]
    return Warnings(api)


async def reasons(warnings: Warnings, *uids: str, namespace: str = "ns") -> list[str]:
    return [event.reason for event in await warnings.about(namespace, uids, NOW)]


def test_sixty_runs_that_ask_together_cost_one_list():
    cluster = Cluster()

    async def scenario() -> list[list[str]]:
        warnings = reader(cluster)
        return list(await asyncio.gather(*(reasons(warnings, uid) for uid in "ab" * 30)))

    assert virtualtime.run(scenario()) == [["a1", "a1"], ["b1"]] * 30
    assert cluster.asked == ["ns"]


def test_a_list_serves_for_a_while_and_each_namespace_has_its_own():
    cluster = Cluster()

    async def scenario() -> list[list[str]]:
        warnings = reader(cluster)
        told = [await reasons(warnings, "b"), await reasons(warnings, "b", namespace="other")]
        await asyncio.sleep(FRESH_SECONDS - 3)
        told.append(await reasons(warnings, "b"))
        await asyncio.sleep(4)
        return [*told, await reasons(warnings, "b")]

    assert virtualtime.run(scenario()) == [["b1"], ["b2"], ["b1"], ["b3"]]
    assert cluster.asked == ["ns", "other", "ns"]


def test_a_list_that_failed_is_asked_for_again():
    cluster = Cluster(failures=1)

    async def scenario() -> list[str]:
        warnings = reader(cluster)
        with pytest.raises(ApiUnavailable):
            await reasons(warnings, "b")
        return await reasons(warnings, "b")

    assert virtualtime.run(scenario()) == ["b2"]


def test_a_pass_that_is_cancelled_takes_nothing_from_the_others():
    cluster = Cluster()

    async def scenario() -> list[str]:
        warnings = reader(cluster)
        first = asyncio.create_task(reasons(warnings, "a"))
        second = asyncio.create_task(reasons(warnings, "b"))
        await asyncio.sleep(0.5)
        first.cancel()
        return await second

    assert virtualtime.run(scenario()) == ["b1"]
    assert cluster.asked == ["ns"]


def test_a_list_that_takes_long_is_not_asked_for_again_meanwhile():
    cluster = Cluster(seconds=100)

    async def scenario() -> list[list[str]]:
        warnings = reader(cluster)
        first = asyncio.create_task(reasons(warnings, "b"))
        await asyncio.sleep(50)
        return [await reasons(warnings, "b"), await first, await reasons(warnings, "b")]

    assert virtualtime.run(scenario()) == [["b1"], ["b1"], ["b1"]]


@pytest.mark.parametrize(
    "odd",
    [
        warning("b", "odd", lastTimestamp="0000-01-01T00:00:00Z"),
        warning("b", "odd", lastTimestamp=7),
        warning("b", "odd", involvedObject={"kind": "ConfigMap", "uid": "b"}),
        warning("b", "odd", involvedObject=None),
    ],
)
def test_fault_54_an_event_that_cannot_be_read_or_is_of_no_pod_costs_the_others_nothing(odd: dict[str, Any]):
    cluster = Cluster(others=[odd, warning("b", "last", lastTimestamp="2026-01-01T11:00:00Z")])
    assert virtualtime.run(reasons(reader(cluster), "b")) == ["b1", "last"]


def test_fault_54_of_many_and_long_warnings_about_an_object_the_newest_are_kept_and_cut():
    many = [
        warning("b", f"n{minute}", lastTimestamp=f"2026-01-01T11:{minute:02}:00Z", message="x" * 9_000)
        for minute in range(50)
    ]

    async def scenario() -> tuple[Event, ...]:
        return await reader(Cluster(others=many)).about("ns", ["b"], NOW)

    events = virtualtime.run(scenario())
    assert [event.reason for event in events] == ["n45", "n46", "n47", "n48", "n49"]
    assert {len(event.message) for event in events} == {1024}
