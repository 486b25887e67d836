"""/metrics and the probes, over HTTP."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import uvloop
from prometheus_client import CONTENT_TYPE_LATEST
from tests.cluster.processes import free_port
from tests.support.log import Log
from tests.support.tls import issue

from llm2llm_operator.observability import http, metrics
from llm2llm_operator.observability.certificate import Certificate

Answer = tuple[int, str, str]
"""Status, content type and text."""


async def get(path: str, port: int, authority: Path | None = None) -> Answer:
    """What the server on this port answers, once it listens; over TLS if there is an authority to trust."""
    scheme, context = "http", None
    if authority:
        scheme, context = "https", ssl.create_default_context(cafile=authority)
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{scheme}://127.0.0.1:{port}{path}", ssl=context or True) as response:
                    return response.status, response.headers["Content-Type"], await response.text()
            except aiohttp.ClientConnectorCertificateError:
                raise
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


def with_tls(folder: Path, ask: Callable[[int, int], Awaitable[None]]) -> None:
    """Lets `ask` talk to a server that has the certificate in this folder, on a plain port and one with TLS."""
    plain, secret = free_port(), free_port()
    tls = Certificate(folder).context

    async def scenario() -> None:
        served = http.serve("127.0.0.1", plain, ready=str, healthy=str, tls=tls, tls_port=secret)
        server = asyncio.create_task(served)
        try:
            await ask(plain, secret)
        finally:
            server.cancel()
            await asyncio.wait({server})

    uvloop.run(scenario())  # as the operator's own loop


def test_with_a_certificate_metrics_are_on_the_port_with_tls_alone_and_probes_on_the_other(tmp_path: Path):
    authority, _ = issue(tmp_path)

    async def ask(plain: int, secret: int) -> None:
        status, kind, text = await get("/metrics", secret, authority)
        assert (status, kind) == (200, CONTENT_TYPE_LATEST)
        assert "llm2llm_leader" in text
        assert [(await get(path, secret, authority))[0] for path in ("/readyz", "/healthz")] == [404, 404]
        assert [(await get(path, plain))[0] for path in ("/readyz", "/healthz", "/metrics")] == [200, 200, 404]

    with_tls(tmp_path, ask)


def test_a_renewed_certificate_is_served_from_the_next_connection_on(tmp_path: Path):
    issue(tmp_path / "in-use")
    authority, _ = issue(tmp_path / "renewed")

    async def ask(_: int, secret: int) -> None:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get("/metrics", secret, authority)
        shutil.copytree(tmp_path / "renewed", tmp_path / "in-use", dirs_exist_ok=True)
        assert (await get("/metrics", secret, authority))[0] == 200

    with_tls(tmp_path / "in-use", ask)


def test_a_renewal_that_does_not_work_is_logged_once_and_the_certificate_stays(tmp_path: Path, log: Log):
    certificate, key = issue(tmp_path / "in-use")
    authority = Path(shutil.copy(certificate, tmp_path / "ca.crt"))

    async def ask(_: int, secret: int) -> None:
        certificate.write_text("half of a certificate")
        assert [(await get("/metrics", secret, authority))[0] for _ in range(2)] == [200, 200]
        key.unlink()
        assert (await get("/metrics", secret, authority))[0] == 200

    with_tls(tmp_path / "in-use", ask)
    [record] = [record for record in log.records if record.levelno == logging.ERROR]
    assert "stays what it was: tls.crt or tls.key is no PEM" in record.getMessage()
