"""A watch that cannot reach the API server goes on trying, and that is health: a restart would not help."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from kubernetes.aio import client

from llm2llm_operator.kube import decode as wire
from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.watch.cache import Cache
from llm2llm_operator.watch.informer import Informer


class Listed(KubeClient):
    """Lists are there, and nothing else is."""

    async def pages(self, _collection: str, _namespace: str = "") -> AsyncIterator[wire.Page]:
        yield wire.Page([], 1, "")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener


@pytest.mark.parametrize(
    "answers",
    [pytest.param(False, id="connections are refused"), pytest.param(True, id="connections are never answered")],
)
def test_trying_is_progress(answers: bool, listener: socket.socket):
    if answers:
        listener.listen(64)
    port = listener.getsockname()[1]

    async def scenario() -> int:
        cluster = Listed(client.Configuration(host=f"https://127.0.0.1:{port}"), write_rate=1, write_burst=1)
        informer = Informer(cluster, Cache(), lambda *_, **__: None, (), 300)
        assert informer.seconds_since_watch_activity() == 0
        task = asyncio.create_task(informer.run())
        broken, before = 0, 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while broken < 3:
                    await asyncio.sleep(0.05)
                    silence = informer.seconds_since_watch_activity()
                    broken += silence < before
                    before = silence
        task.cancel()
        await asyncio.wait({task})
        await cluster.close()
        return broken

    broken = asyncio.run(scenario())
    for thread in threading.enumerate():
        if thread.name == "watches":
            thread.join(30)
    assert broken == 3, "the silence only grows"
