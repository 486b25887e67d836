"""How fast writes may follow each other, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from kubernetes.aio import client
from tests.support import virtualtime

from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.kube.ratelimit import RECOVERY_SECONDS, RequestRate


def times(scenario: Coroutine[Any, Any, list[float]]) -> list[float]:
    """Seconds since the start at which the writes of a scenario went."""
    return [round(moment, 2) for moment in virtualtime.run(scenario)]


async def writes(bucket: RequestRate, count: int) -> list[float]:
    async def one() -> float:
        await bucket.take("ns")
        return asyncio.get_running_loop().time()

    return list(await asyncio.gather(*(one() for _ in range(count))))


def test_after_a_burst_writes_follow_each_other_at_the_rate():
    assert times(writes(RequestRate(10, 3), 6)) == [0, 0, 0, 0.1, 0.2, 0.3]


def test_fault_05_429s_to_requests_that_went_together_halve_the_rate_once_and_end_the_burst():
    bucket = RequestRate(100, 100)

    async def scenario() -> list[float]:
        await bucket.take("ns")
        for _ in range(5):
            bucket.slow_down()
        return await writes(bucket, 50)

    went = times(scenario())
    assert went[0] == 0.02  # 50 a second
    assert 0.9 <= went[-1] <= 1.0


def test_fault_05_429s_that_go_on_lower_the_rate_to_a_thirty_second_and_no_further():
    bucket = RequestRate(320, 10)

    async def scenario() -> list[float]:
        for _ in range(50):
            bucket.slow_down()
            await asyncio.sleep(1.0)
        bucket.slow_down()
        return await writes(bucket, 1)

    [moment] = times(scenario())
    assert 50 < moment <= 50.1


def test_fault_05_twenty_seconds_later_the_rate_is_what_it_was():
    bucket = RequestRate(10, 1)

    async def scenario() -> list[float]:
        bucket.slow_down()
        await asyncio.sleep(RECOVERY_SECONDS)
        await bucket.take("ns")
        return await writes(bucket, 3)

    assert times(scenario()) == [20.1, 20.2, 20.3]


def test_fault_05_a_write_that_is_refused_with_429_waits_as_long_as_the_server_asks(monkeypatch: pytest.MonkeyPatch):
    async def scenario() -> list[float]:
        cluster = KubeClient(client.Configuration(host="http://api"), write_rate=100, write_burst=100)
        cluster.gate.open(lambda: True)
        answers = iter([(429, {"Retry-After": "7"}), (429, {"Retry-After": "30"}), (201, {})])
        went = []

        async def call(*_: object, **__: object) -> SimpleNamespace:
            went.append(asyncio.get_running_loop().time())
            status, headers = next(answers)
            return SimpleNamespace(status=status, headers=headers, read=AsyncMock(return_value=b"{}"))

        monkeypatch.setattr(cluster._client, "call_api", call)
        await cluster.create_event("ns", {})
        await cluster.close()
        return went

    assert times(scenario()) == [0, 7, 37]


def test_fault_53_a_namespace_with_a_thousand_requests_does_not_delay_another():
    bucket = RequestRate(100, 1)

    async def one(namespace: str) -> float:
        await bucket.take(namespace)
        return asyncio.get_running_loop().time()

    async def scenario() -> list[float]:
        crowd = [asyncio.create_task(one("crowd")) for _ in range(1_000)]
        await asyncio.sleep(0.1)
        alone = [await one("alone") - 0.1, await one("alone") - 0.1]
        last = (await asyncio.gather(*crowd))[-1]
        return [*alone, last]

    first, second, last = times(scenario())
    assert first <= 0.02
    assert second <= 0.05
    assert last == pytest.approx(10.01, abs=0.02)


def test_whoever_is_cancelled_while_waiting_takes_no_turn():
    bucket = RequestRate(10, 1)

    async def scenario() -> list[float]:
        await bucket.take("ns")
        waiting = [asyncio.create_task(bucket.take("ns")) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        return await writes(bucket, 2)

    assert times(scenario()) == [0.1, 0.2]
