"""/metrics and the probes, over HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import aiohttp
import pytest
from prometheus_client import CONTENT_TYPE_LATEST
from tests.cluster.processes import free_port

from llm2llm_operator.observability import http, metrics

Answer = tuple[int, str, str]
"""Status, content type and text."""


async def get(path: str, port: int) -> Answer:
    """What the server on this port answers, once it listens."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                    return response.status, response.headers["Content-Type"], await response.text()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)


def answers(*paths: str, ready: Callable[[], str] = str, healthy: Callable[[], str] = str) -> list[Answer]:
    """What a server with these probes answers; it is stopped, and its port is free again."""
    port = free_port()

    async def scenario() -> list[Answer]:
        server = asyncio.create_task(http.serve("127.0.0.1", port, ready=ready, healthy=healthy))
        try:
            return [await get(path, port) for path in paths]
        finally:
            server.cancel()
            await asyncio.wait({server})

    found = asyncio.run(scenario())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    return found


def test_probes_that_find_nothing_wrong_say_ok():
    assert [(status, text) for status, _, text in answers("/readyz", "/healthz")] == [(200, "ok"), (200, "ok")]


def test_each_probe_tells_its_own_problem_to_whoever_reads_the_kubelets_events():
    found = answers("/readyz", "/healthz", ready=lambda: "not synced", healthy=lambda: "blocked for 61 s")
    assert [(status, text) for status, _, text in found] == [(503, "not synced"), (503, "blocked for 61 s")]


def test_a_probe_is_asked_anew_each_time():
    problems = iter(["not synced", ""])
    found = answers("/readyz", "/readyz", ready=lambda: next(problems))
    assert [status for status, _, _ in found] == [503, 200]


def test_metrics_are_in_the_format_that_prometheus_reads():
    [(status, kind, text)] = answers("/metrics")
    assert (status, kind) == (200, CONTENT_TYPE_LATEST)
    [ours] = metrics.CONFLICTS.describe()
    assert {f"# TYPE {ours.name}_total counter", "# TYPE python_info gauge"} <= set(text.splitlines())


def test_there_is_no_other_page():
    assert [status for status, _, _ in answers("/", "/debug")] == [404, 404]
