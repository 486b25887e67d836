"""Start-up of the operator process: settings, watches, workers, and one HTTP server for metrics and probes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import uvloop
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from llm2llm.errors import ExitCode
from llm2llm_operator import metrics
from llm2llm_operator.cache import Cache
from llm2llm_operator.cluster import Cluster, load_configuration
from llm2llm_operator.errors import ApiError, Conflict
from llm2llm_operator.informer import CrdMissing, Informer
from llm2llm_operator.queue import WorkQueue
from llm2llm_operator.reconcile import Reconciler
from llm2llm_operator.settings import Settings

log = logging.getLogger("llm2llm_operator")
LOOP_STALL_SECONDS = 60.0
"""Health fails when the event loop did not turn for so long: a restart is safe, a blocked loop is not."""


class Operator:
    """The parts of one operator process."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._settings = settings
        self._cache = Cache()
        self._queue = WorkQueue()
        self._reconciler = Reconciler(cluster, self._cache, settings)
        self._informer = Informer(cluster, self._cache, self._queue.add, settings.namespaces, settings.resync_seconds)
        self._beat = 0.0

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._heartbeat())
            tasks.create_task(self._serve())
            tasks.create_task(self._informer.run())
            await self._informer.synced.wait()
            log.info("caches are whole: %d runs", len(self._cache.keys()))
            for _ in range(self._settings.workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            metrics.QUEUE_DEPTH.set(len(self._queue))
            try:
                with metrics.RECONCILE_SECONDS.time():
                    wake_after = await self._reconciler.reconcile(key)
            except Conflict:
                metrics.RECONCILES.labels("conflict").inc()
                self._queue.done(key)
                self._queue.add_after(key, 0.05)
            except ApiError as error:
                metrics.RECONCILES.labels("unavailable").inc()
                pause = self._queue.failed(key)
                log.warning("%s/%s: %s; again in %.0f s", *key, error, pause)
            except Exception:
                metrics.RECONCILES.labels("error").inc()
                pause = self._queue.failed(key)
                log.exception("%s/%s: internal error; again in %.0f s", *key, pause)
            else:
                metrics.RECONCILES.labels("ok").inc()
                self._queue.done(key)
                if wake_after is not None:
                    self._queue.add_after(key, wake_after)

    async def _heartbeat(self) -> None:
        while True:
            self._beat = asyncio.get_running_loop().time()
            await asyncio.sleep(1)

    async def _serve(self) -> None:
        async def metrics_page(_: web.Request) -> web.Response:
            return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

        async def ready(_: web.Request) -> web.Response:
            whole = self._informer.synced.is_set()
            return web.Response(text="ok" if whole else "caches are not whole yet", status=200 if whole else 503)

        async def healthy(_: web.Request) -> web.Response:
            lag = asyncio.get_running_loop().time() - self._beat
            return web.Response(text=f"loop lag {lag:.1f} s", status=200 if lag < LOOP_STALL_SECONDS else 503)

        app = web.Application()
        app.add_routes([web.get("/metrics", metrics_page), web.get("/readyz", ready), web.get("/healthz", healthy)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._settings.http_host, self._settings.http_port).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


async def serve(settings: Settings) -> None:
    """Connects and runs until SIGTERM or SIGINT."""
    configuration = await load_configuration()
    cluster = Cluster(configuration, write_rate=settings.write_rate, write_burst=settings.write_burst)
    task = asyncio.create_task(Operator(cluster, settings).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")
    finally:
        await cluster.close()


def main() -> int:
    """Entry point `llm2llm-operator`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # it runs outside the main thread on purpose, and says each time that it then leaves signals alone
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says it all
        return ExitCode.BAD_CONFIGURATION
    code = 0
    try:
        uvloop.run(serve(settings))
    except* CrdMissing as group:
        log.error("%s", group.exceptions[0])  # noqa: TRY400 - the message says it all
        code = ExitCode.BAD_CONFIGURATION
    return code


if __name__ == "__main__":
    sys.exit(main())
