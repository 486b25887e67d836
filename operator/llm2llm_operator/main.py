"""Starts the operator process: settings, watches, leader election, workers and probes.

`main` reads the settings and runs `serve`, which connects to the API server and runs an `Operator` until SIGTERM. Every
replica watches. The leader relists, opens the write gate, and has its workers take keys from the queue and reconcile
them, until it loses the lease.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from llm2llm.errors import ExitCode
from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.kube.configuration import NoAccess, load_configuration
from llm2llm_operator.kube.errors import ApiError, Conflict, NotFound, NotLeading
from llm2llm_operator.model.run import Key
from llm2llm_operator.observability import http, logs, metrics
from llm2llm_operator.observability.certificate import Certificate, CertificateError
from llm2llm_operator.reconcile import Reconciler
from llm2llm_operator.settings import Settings
from llm2llm_operator.watch.cache import Cache
from llm2llm_operator.watch.crdcheck import compare_forever
from llm2llm_operator.watch.informer import WATCH_DEATHS_LIMIT, WATCH_STALL_SECONDS, CrdMissing, Informer
from llm2llm_operator.watch.lease import Elector, default_identity
from llm2llm_operator.watch.workqueue import WorkQueue

log = logging.getLogger("llm2llm_operator")
HEARTBEAT_SECONDS = 0.25
ALLOCATIONS_A_COLLECTION = 5_000
"""Threshold of Python's cyclic garbage collector, instead of 700."""
LOOP_STALL_SECONDS = 60.0
"""Health fails when the event loop has been blocked this long: a restart is safe, a blocked loop is not."""


class Operator:
    """Connects the parts of one operator process."""

    def __init__(self, cluster: KubeClient, settings: Settings, identity: str) -> None:
        self._settings = settings
        self._identity = identity
        self._cluster = cluster
        self._cache = Cache()
        self._queue = WorkQueue(metrics.QUEUE_SECONDS.observe, settings.workers)
        self._reconciler = Reconciler(cluster, self._cache, settings)
        self._informer = Informer(cluster, self._cache, self._enqueue, settings.namespaces, settings.resync_seconds)
        self._beat = 0.0
        metrics.LEADER.set_function(cluster.gate.is_open)
        metrics.QUEUE_DEPTH.set_function(lambda: len(self._queue) if cluster.gate.is_open() else 0)
        metrics.QUEUE_AGE.set_function(lambda: self._queue.oldest_seconds() if cluster.gate.is_open() else 0)
        metrics.RUN_STATES.count(self._cache.summaries)

    async def run(self) -> None:
        """Runs until cancelled. Every replica watches; only the leader reconciles (rule C14)."""
        settings = self._settings
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._heartbeat())
            tasks.create_task(self._serve_http())
            tasks.create_task(self._informer.run())
            await self._informer.synced.wait()
            freeze_gc()
            log.info("caches are synced: %d runs", len(self._cache.keys()))
            tasks.create_task(compare_forever(self._cluster, settings.resync_seconds))
            if settings.leader_election:
                elector = Elector(self._cluster, settings.namespace, settings.lease, self._identity)
                await elector.run(lambda: self._lead(elector.leads))
            else:
                await self._work_while(lambda: True)

    async def _serve_http(self) -> None:
        settings = self._settings
        folder = settings.metrics_tls_folder
        await http.serve(
            settings.http_host,
            settings.http_port,
            ready=self._unready,
            healthy=self._unhealthy,
            tls=Certificate(Path(folder)).context if folder else None,
            tls_port=settings.metrics_port,
        )

    async def _lead(self, leads: Callable[[], bool]) -> None:
        """Works for one term as the leader: relists before its first write, and starts with an empty queue."""
        self._queue = WorkQueue(metrics.QUEUE_SECONDS.observe, self._settings.workers)
        await self._informer.relist_until_ok()
        freeze_gc()
        await self._work_while(leads)

    async def _work_while(self, may_write: Callable[[], bool]) -> None:
        self._cluster.gate.open(may_write)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._settings.workers):
                    tasks.create_task(self._work())
        finally:
            self._cluster.gate.close()

    def _enqueue(self, key: Key, *, urgent: bool = True) -> None:
        self._queue.add(key, urgent=urgent)

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(0)  # a pass with nothing to do never waits: thousands of them would block the loop
            key = await self._queue.get()
            with logs.about(key):
                metrics.RECONCILES.labels(await self._run_pass(key)).inc()

    async def _run_pass(self, key: Key) -> str:
        """Runs one pass over one run and schedules the next one; returns its result, as the metric names it."""
        try:
            with metrics.RECONCILE_SECONDS.time():
                wake_after = await self._reconciler.reconcile(key)
        except Conflict:
            self._queue.done(key)
            self._queue.add_after(key, 0.05)
            return "conflict"
        except NotLeading:
            self._queue.retry_later(key)
            return "not-leading"
        except NotFound:  # the run was deleted during this pass
            self._queue.done(key)
            self._queue.forget(key)
            return "gone"
        except ApiError as error:
            pause = self._queue.retry_later(key)
            log.warning("%s; retrying in %.0f s", error, pause)
            return "unavailable"
        except Exception:
            pause = self._queue.retry_later(key)
            log.exception("internal error; retrying in %.0f s", pause)
            return "error"
        self._queue.done(key)
        if wake_after is not None:
            self._queue.add_after(key, wake_after)
        return "ok"

    async def _heartbeat(self) -> None:
        """Records that the event loop is running, and measures how late it is."""
        loop = asyncio.get_running_loop()
        while True:
            self._beat = loop.time()
            await asyncio.sleep(HEARTBEAT_SECONDS)
            metrics.LOOP_LAG.observe(max(0.0, loop.time() - self._beat - HEARTBEAT_SECONDS))

    def _unready(self) -> str:
        """Returns why this replica is not ready; one that does not lead is ready, because it can take over."""
        return "" if self._informer.synced.is_set() else "caches are not synced yet"

    def _unhealthy(self) -> str:
        """Returns a problem that a restart would fix: never the lease, and never an unavailable API server."""
        lag = asyncio.get_running_loop().time() - self._beat
        if lag > LOOP_STALL_SECONDS:
            return f"the event loop has been blocked for {lag:.0f} s"
        deaths = self._informer.watch_deaths()
        if deaths >= WATCH_DEATHS_LIMIT:
            return f"the watches died {deaths} times in a row without an event in between"
        silence = self._informer.seconds_since_watch_activity()
        return f"the watches have been inactive for {silence:.0f} s" if silence > WATCH_STALL_SECONDS else ""


def freeze_gc() -> None:
    """Hides everything that is in memory now, modules and caches, from the garbage collector.

    It would search all of it again and again for cycles that do not exist; with 300 active runs that caused a pause of
    50 to 140 ms every two or three seconds. Objects without references are freed anyway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_A_COLLECTION)


async def serve(settings: Settings) -> None:
    """Connects to the API server and runs the operator until SIGTERM or SIGINT."""
    freeze_gc()
    configuration = await load_configuration()
    identity = settings.identity or default_identity()
    cluster = KubeClient(
        configuration, write_rate=settings.write_rate, write_burst=settings.write_burst, identity=identity
    )
    task = asyncio.create_task(Operator(cluster, settings, identity).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")
    finally:
        await cluster.close()


def main(arguments: list[str] | None = None) -> int:
    """Runs the operator; the entry point `llm2llm-operator`."""
    argparse.ArgumentParser(
        "llm2llm-operator",
        description="Runs AugmentationRuns. Its settings are environment variables, which the chart sets: "
        "LLM2LLM_NAMESPACE and others.",
    ).parse_args(arguments)
    logs.set_up(os.environ.get("LLM2LLM_LOG_FORMAT", ""))
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says it all
        return ExitCode.BAD_CONFIGURATION
    code = 0
    try:
        uvloop.run(serve(settings))
    except* (CrdMissing, NoAccess, CertificateError) as group:
        log.error("%s", group.exceptions[0])  # noqa: TRY400 - the message says it all
        code = ExitCode.BAD_CONFIGURATION
    return code


if __name__ == "__main__":
    sys.exit(main())
