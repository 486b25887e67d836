"""What follows a pass over a run, what the probes say of the process, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kubernetes.aio import client
from tests.support import virtualtime
from tests.support.log import Log

from llm2llm_operator import main as module
from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.kube.errors import ApiUnavailable, Conflict, NotFound, NotLeading
from llm2llm_operator.main import Operator
from llm2llm_operator.model.run import Key
from llm2llm_operator.observability import logs
from llm2llm_operator.settings import Settings
from llm2llm_operator.watch.informer import WATCH_DEATHS_LIMIT, CrdMissing

KEY = ("ns", "r")


@asynccontextmanager
async def an_operator(reconcile: Callable[[Key], Awaitable[float | None]] | None = None) -> AsyncIterator[Operator]:
    """An operator that talks to nobody, with this in place of a pass."""
    cluster = KubeClient(client.Configuration(host="http://api"), write_rate=1, write_burst=1)
    operator = Operator(cluster, Settings(leader_election=False, workers=2), "one")
    if reconcile:
        operator._reconciler.reconcile = reconcile  # type: ignore[assignment,method-assign]
    operator._beat = asyncio.get_running_loop().time()
    try:
        yield operator
    finally:
        await cluster.close()


async def after_a_pass(ending: float | Exception | None) -> tuple[str, float | None]:
    """The name of a pass that ends like this, and the seconds until the next one, None for never."""

    async def reconcile(_: Key) -> float | None:
        if isinstance(ending, Exception):
            raise ending
        return ending

    async with an_operator(reconcile) as operator:
        operator._enqueue(KEY)
        await operator._queue.get()
        result = await operator._run_pass(KEY)
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.wait_for(operator._queue.get(), 10_000)
        except TimeoutError:
            return result, None
        return result, asyncio.get_running_loop().time() - began


@pytest.mark.parametrize(
    ("ending", "result", "at_least", "at_most"),
    [
        pytest.param(30.0, "ok", 30.0, 30.0, id="it says itself when"),
        pytest.param(Conflict(409, "", ""), "conflict", 0.05, 0.05, id="somebody wrote first: with what is there now"),
        pytest.param(NotLeading(), "not-leading", 0.75, 1.0, id="another replica leads"),
        pytest.param(ApiUnavailable(503, "", ""), "unavailable", 0.75, 1.0, id="the API server is away"),
        pytest.param(KeyError("bug"), "error", 0.75, 1.0, id="an error of ours"),
    ],
)
def test_a_run_is_looked_at_again_after(ending: float | Exception, result: str, at_least: float, at_most: float):
    name, seconds = virtualtime.run(after_a_pass(ending))
    assert name == result
    assert seconds is not None
    assert at_least - 1e-6 <= seconds <= at_most + 1e-6


@pytest.mark.parametrize(
    ("ending", "result"),
    [
        pytest.param(None, "ok", id="nothing is due"),
        pytest.param(NotFound(404, "", ""), "gone", id="the run was deleted during the pass"),
    ],
)
def test_a_run_is_not_looked_at_again_before_something_happens(ending: Exception | None, result: str):
    assert virtualtime.run(after_a_pass(ending)) == (result, None)


def test_an_error_of_ours_is_logged_with_its_traceback(log: Log):
    virtualtime.run(after_a_pass(KeyError("bug")))
    [record] = [record for record in log.records if record.name == "llm2llm_operator"]
    assert record.levelno == logging.ERROR
    assert record.exc_info


def test_an_api_server_that_is_away_is_a_warning_without_a_traceback(log: Log):
    virtualtime.run(after_a_pass(ApiUnavailable(503, "Busy", "later")))
    [record] = [record for record in log.records if record.name == "llm2llm_operator"]
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert record.getMessage() == "503 Busy: later; retrying in 1 s"


def test_a_new_leader_lists_everything_before_it_may_write_and_forgets_what_was_queued(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "freeze_gc", lambda: None)
    passes: list[tuple[Key, bool]] = []
    open_while_listing: list[bool] = []

    async def scenario() -> bool:
        async def reconcile(key: Key) -> None:
            passes.append((key, operator._cluster.gate.is_open()))

        async def relist() -> None:
            open_while_listing.append(operator._cluster.gate.is_open())
            operator._enqueue(KEY)

        async with an_operator(reconcile) as operator:
            monkeypatch.setattr(operator._informer, "relist_until_ok", relist)
            operator._enqueue(("ns", "of-an-earlier-term"))
            term = asyncio.create_task(operator._lead(lambda: True))
            await asyncio.sleep(1)
            term.cancel()
            await asyncio.wait({term})
            return operator._cluster.gate.is_open()

    still_open = virtualtime.run(scenario())
    assert open_while_listing == [False]
    assert passes == [(KEY, True)]
    assert not still_open


@pytest.mark.parametrize(
    ("blocked", "silent", "problem"),
    [
        pytest.param(0.0, 0.0, "", id="all is well"),
        pytest.param(60.0, 420.0, "", id="slow, but not yet for long"),
        pytest.param(61.0, 0.0, "the event loop has been blocked for 61 s", id="an event loop that is blocked"),
        pytest.param(0.0, 421.0, "the watches have been inactive for 421 s", id="watches that see and ask nothing"),
    ],
)
def test_health_turns_bad_where_a_restart_helps(
    blocked: float, silent: float, problem: str, monkeypatch: pytest.MonkeyPatch
):
    async def scenario() -> str:
        async with an_operator() as operator:
            operator._beat = asyncio.get_running_loop().time() - blocked
            monkeypatch.setattr(operator._informer, "seconds_since_watch_activity", lambda: silent)
            return operator._unhealthy()

    assert virtualtime.run(scenario()) == problem


def test_a_replica_is_ready_once_it_has_listed_everything_whether_it_leads_or_not():
    async def scenario() -> tuple[str, str]:
        async with an_operator() as operator:
            before = operator._unready()
            operator._informer.synced.set()
            return before, operator._unready()

    assert virtualtime.run(scenario()) == ("caches are not synced yet", "")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Variables of the process that are good; its logs go where those of the test go."""
    monkeypatch.setattr(logs, "set_up", lambda _: None)
    monkeypatch.setenv("LLM2LLM_NAMESPACE", "llm2llm")
    return monkeypatch


def test_a_wrong_setting_ends_the_process_with_its_name_and_without_a_traceback(
    environment: pytest.MonkeyPatch, log: Log
):
    environment.setenv("LLM2LLM_WORKERS", "many")
    assert module.main([]) == 64
    [record] = log.records
    assert "LLM2LLM_WORKERS must be a number, not 'many'" in record.getMessage()
    assert not record.exc_info


def test_without_the_chart_s_crd_the_process_ends_and_says_so(environment: pytest.MonkeyPatch, log: Log):
    async def serve(_: Settings) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ending(CrdMissing("install the CRD")))

    environment.setattr(module, "serve", serve)
    assert module.main([]) == 64
    assert [(record.getMessage(), record.exc_info) for record in log.records] == [("install the CRD", None)]


def test_with_a_certificate_that_does_not_work_the_process_ends_and_says_why(
    environment: pytest.MonkeyPatch, log: Log, tmp_path: Path
):
    async def serve(settings: Settings) -> None:
        cluster = KubeClient(client.Configuration(host="http://api"), write_rate=1, write_burst=1)
        try:
            await Operator(cluster, settings, "one").run()
        finally:
            await cluster.close()

    environment.setenv("LLM2LLM_METRICS_TLS_FOLDER", str(tmp_path))
    environment.setattr(module, "serve", serve)
    assert module.main([]) == 64
    [record] = log.records
    assert f"{tmp_path}/tls.crt cannot be read (No such file or directory)" in record.getMessage()
    assert not record.exc_info


def test_an_error_that_nobody_expected_is_not_swallowed(environment: pytest.MonkeyPatch):
    environment.setattr(module, "serve", lambda _: ending(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        module.main([])


async def ending(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("deaths", "healthy"),
    [
        pytest.param(0, True, id="alive"),
        pytest.param(WATCH_DEATHS_LIMIT - 1, True, id="a death now and then"),
        pytest.param(WATCH_DEATHS_LIMIT, False, id="dead for good"),
    ],
)
def test_health_turns_bad_when_the_watches_only_die(deaths: int, healthy: bool, monkeypatch: pytest.MonkeyPatch):
    async def scenario() -> str:
        async with an_operator() as operator:
            monkeypatch.setattr(operator._informer, "watch_deaths", lambda: deaths)
            return operator._unhealthy()

    problem = asyncio.run(scenario())
    assert (problem == "") == healthy
    assert healthy or f"died {deaths} times" in problem
