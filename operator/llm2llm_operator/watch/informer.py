"""Runs the watches and keeps the cache in step with the cluster; the only module that uses kopf.

At start the informer lists all collections into the cache and sets `synced`. Then kopf watches in a thread of its own,
and each event goes into the cache and enqueues the run that it belongs to. A supervisor restarts kopf when it ends, and
a relist compares the cache with the cluster: soon after the start, after each list of kopf's, and at every resync.

Of kopf we use only the reliable watches: three `on.event` handlers that put an object into the cache and ask for a
pass. Its stateful handlers would write annotations and finalizers to the user's objects (rule C1).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import kopf
import uvloop

from llm2llm.api.run import GROUP, PLURAL, VERSION
from llm2llm_operator.constants import LABEL_RUN_UID, OPERATOR
from llm2llm_operator.kube.client import COLLECTIONS, PAGE, KubeClient
from llm2llm_operator.kube.decode import ListedObject
from llm2llm_operator.kube.errors import ApiError, Forbidden, NotFound
from llm2llm_operator.model.run import Key
from llm2llm_operator.observability import metrics
from llm2llm_operator.watch import kopfjson
from llm2llm_operator.watch.cache import Cache
from llm2llm_operator.watch.watchers import Watchers

log = logging.getLogger(__name__)
EARLY_RELISTS = (5.0, 30.0)
"""Seconds from start to the first relists, which find soon what was deleted between our first list and kopf's first
watch.
"""
AFTER_KOPF_LISTED_SECONDS = 2.0
"""Seconds between the last object of a list of kopf's (after a 410 or a restart) and our own list.

kopf never reports what was deleted while it was not watching.
"""
WATCH_SERVER_SECONDS = 240
"""The API server ends each watch after this time; the next request shows that kopf still works."""
WATCH_STALL_SECONDS = 420.0
"""Longer than any request that kopf waits for: a list may take 300 s, a watch 240 s plus its last 70 s."""
WATCH_DEATHS_LIMIT = 5
"""Health fails when the watches died this many times in a row without an event in between: they see nothing, however
often the supervisor restarts them.
"""
WATCH_LIFE_SECONDS = 60.0
"""Watches that lived this long end such a series, even if there was no event to report."""

KOPF_IDENTITY: Any = OPERATOR
"""Our name in kopf's peering, which is disabled. Without it, kopf asks the host for the user's name (`getpass.getuser`)
and dies if the UID has no passwd entry, as in our own image.
"""


class Enqueue(Protocol):
    """Asks for a pass over a run; a pass that is not urgent waits until no urgent one is waiting."""

    def __call__(self, key: Key, *, urgent: bool = True) -> None: ...


ENDING_SECONDS = 10.0
"""kopf gives its own tasks 5 s to end when one of them has ended."""


class CrdMissing(Exception):
    """The API server does not know AugmentationRuns: the chart's CRD is not installed."""


class Informer:
    """Keeps the cache in step with the cluster; `synced` is set once the cache is complete."""

    def __init__(
        self, cluster: KubeClient, cache: Cache, enqueue: Enqueue, namespaces: tuple[str, ...], resync: float
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._enqueue = enqueue
        self._namespaces = namespaces
        self._resync = resync
        self._progressed_at = math.inf
        self._kopf_listed = asyncio.Event()
        self._kopf_listed_at = -math.inf
        self._deaths = 0
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Lists, watches and lists again until cancelled. Raises CrdMissing at start."""
        await self._relist(first=True, every_run=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._supervise())
            tasks.create_task(self._relist_forever())

    async def relist_until_ok(self) -> None:
        """Lists everything, retrying until the API server answers, and asks for a pass over every run."""
        while True:
            try:
                return await self._relist(every_run=True)
            except ApiError as error:
                log.warning("waiting for a fresh list: %s", error)
                await asyncio.sleep(1)

    def seconds_since_watch_activity(self) -> float:
        """Returns the seconds since kopf last sent a request or reported an object; failing requests are activity."""
        return max(0.0, time.monotonic() - self._progressed_at)

    def watch_deaths(self) -> int:
        """Returns how many times in a row the watches died soon after their start, without an event in between."""
        return self._deaths

    def _mark_progress(self) -> None:
        self._progressed_at = time.monotonic()

    async def _relist_forever(self) -> None:
        for pause in itertools.chain(EARLY_RELISTS, itertools.repeat(self._resync)):
            with contextlib.suppress(TimeoutError):
                jitter = random.uniform(0.9, 1.1)  # noqa: S311
                await asyncio.wait_for(self._kopf_listed.wait(), min(pause, self._resync) * jitter)
                await self._wait_for_kopfs_list()
            self._kopf_listed.clear()
            try:
                await self._relist()
            except ApiError as error:
                log.warning("cannot list: %s", error)
                self._kopf_listed_at = time.monotonic()
                self._kopf_listed.set()  # retry soon

    async def _wait_for_kopfs_list(self) -> None:
        """Waits until no object of kopf's list has arrived for a while.

        kopf reports each object of a list separately and does not mark the last one.
        """
        quiet = 0.0
        while quiet < AFTER_KOPF_LISTED_SECONDS:
            await asyncio.sleep(AFTER_KOPF_LISTED_SECONDS - quiet)
            quiet = time.monotonic() - self._kopf_listed_at

    async def _relist(self, *, first: bool = False, every_run: bool = False) -> None:
        """Lists everything, compares it with the cache, and asks for a pass over each run that has not ended.

        Args:
            first: whether nothing was listed before; then waits for the API server.
            every_run: whether to include runs that ended and did not change since, because no pass has seen them yet.
        """
        # In parallel: while one answer is decoded here, the API server writes another. No run is reconciled meanwhile.
        lists = [asyncio.create_task(self._list(collection, first=first)) for collection in COLLECTIONS]
        try:
            changed = set[Key]().union(*await asyncio.gather(*lists))
        finally:
            for task in lists:
                task.cancel()
        self.synced.set()
        for key in self._cache.keys():  # noqa: SIM118 - a method, not a dict's
            finished = self._cache.finished(key)
            if every_run or not finished or key in changed:
                self._enqueue(key, urgent=not finished if every_run else key in changed)

    async def _list(self, collection: str, *, first: bool) -> set[Key]:
        while True:
            try:
                return await self._list_into_cache(collection)
            except NotFound as error:
                if collection == "runs" and first:
                    raise CrdMissing(
                        f"the API server has no {PLURAL}.{GROUP}/{VERSION}: install the CRD (crds/, or the Helm chart)"
                    ) from error
                raise
            except Forbidden:
                raise
            except ApiError as error:
                if not first:
                    raise
                log.warning("waiting for the API server: %s", error)
                await asyncio.sleep(2)

    async def _list_into_cache(self, collection: str) -> set[Key]:
        """Lists one collection into the cache, page by page: a whole list at once would take most of our memory."""
        changed: set[Key] = set()
        listed: set[str] = set()
        versions: list[int] = []
        for namespace in self._namespaces or ("",):
            async for page in self._cluster.pages(collection, namespace):
                versions.append(page.version)
                if page.unreadable:
                    metrics.UNREADABLE_OBJECTS.inc(page.unreadable)
                    log.error("skipped %d of the %s that are nested too deeply", page.unreadable, collection)
                for item in page.items:
                    listed.add(item.uid)
                    if self._cache.knows(collection, item.uid, item.version):
                        continue
                    key = self._put(collection, item)
                    if key:
                        changed.add(key)
                        if self.synced.is_set():  # the watch reports what we stored first as known
                            self._enqueue(key)
        return changed | self._cache.retain(collection, listed, min(versions))

    def _put(self, collection: str, item: ListedObject | dict[str, Any]) -> Key | None:
        """Puts an object into the cache; one that cannot be read costs no other object anything (rule C19)."""
        metadata: dict[str, Any] = {}
        try:
            body = item.document() if isinstance(item, ListedObject) else item
            metadata = body["metadata"]
            return self._cache.put(collection, body)
        except Exception:
            name = f"{metadata.get('namespace')}/{metadata.get('name')}" if metadata else "an object"
            log.exception("skipped %s in %s: it cannot be read", name, collection)
            metrics.UNREADABLE_OBJECTS.inc()
            return None

    async def _supervise(self) -> None:
        """Restarts kopf whenever it, or one of its watches, ends (rule C13).

        A watch ends on a 404, a 410 in a chunk, a watch ERROR 500, or more 5xx responses than kopf tolerates.
        """
        loop = asyncio.get_running_loop()
        while True:
            self._mark_progress()
            started = time.monotonic()
            ended = asyncio.Event()
            stop = threading.Event()
            threading.Thread(target=self._watch, args=(loop, stop, ended), name="watches", daemon=True).start()
            try:
                await ended.wait()
            finally:
                stop.set()
            metrics.WATCH_RESTARTS.inc()
            self._deaths = self._deaths + 1 if time.monotonic() - started < WATCH_LIFE_SECONDS else 1
            self._kopf_listed.set()
            await asyncio.sleep(random.uniform(1, 3))  # noqa: S311 - jitter

    def _watch(self, loop: asyncio.AbstractEventLoop, stop: threading.Event, ended: asyncio.Event) -> None:
        """Runs kopf in its own thread and event loop: kopf handles SIGTERM, and cancels all tasks of its loop when it
        ends.
        """
        kopfjson.install()
        try:
            uvloop.run(self._watch_until_it_ends(loop, stop, ended))
        except Exception:
            log.exception("the watches ended; restarting them")
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

    async def _watch_until_it_ends(
        self, loop: asyncio.AbstractEventLoop, stop: threading.Event, ended: asyncio.Event
    ) -> None:
        """Runs kopf until one of its tasks or watches ends, then sets `ended`, even if kopf does not shut down.

        A watch that lost its session waits for credentials, but the task that provides them may have ended already; and
        a thread of kopf's waits for `stop`, without which `asyncio.run` never returns.
        """
        try:
            tasks = await kopf.spawn_tasks(
                registry=self._registry(loop),
                settings=_settings(self._mark_progress),
                identity=KOPF_IDENTITY,
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=stop,
            )
            watchers = Watchers(len(COLLECTIONS) * max(1, len(self._namespaces)))
            while not (await asyncio.wait(tasks, timeout=1.0, return_when=asyncio.FIRST_COMPLETED))[0]:
                if watchers.one_is_missing():
                    break
            ours = {task for task in [asyncio.current_task()] if task}
            ending = asyncio.create_task(kopf.run_tasks(tasks, ignored=ours))
            await asyncio.wait({ending}, timeout=ENDING_SECONDS)
            if ending.done():
                ending.result()
            log.warning("the watches ended; restarting them")
        finally:
            stop.set()
            with contextlib.suppress(RuntimeError):  # our loop is closed: the process is exiting
                loop.call_soon_threadsafe(ended.set)

    def _on_watch_event(self, collection: str, kind: str | None, body: dict[str, Any]) -> None:
        """Puts one watch event into the cache; runs in our own event loop."""
        self._mark_progress()
        self._deaths = 0
        metrics.WATCH_EVENTS.labels(collection).inc()
        if kind is None:  # of kopf's list, with its metadata alone: our own list follows
            self._kopf_listed_at = self._progressed_at
            self._kopf_listed.set()
            return
        if kind == "DELETED":
            key = self._cache.drop(collection, body["metadata"]["uid"])
        else:
            key = self._put(collection, body)
        if key:
            self._enqueue(key)

    def _registry(self, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        def handler(collection: str) -> Callable[..., Any]:
            async def on_event(event: dict[str, Any], **_: object) -> None:
                loop.call_soon_threadsafe(self._on_watch_event, collection, event["type"], event["object"])

            return on_event

        async def login(**_: object) -> kopf.ConnectionInfo:
            return await connection_info(self._cluster)

        kopf.on.login(registry=registry)(login)
        kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(handler("runs"))
        kopf.on.event("batch", "v1", "jobs", registry=registry)(handler("jobs"))
        kopf.on.event("", "v1", "pods", registry=registry)(handler("pods"))
        return registry


async def connection_info(cluster: KubeClient) -> kopf.ConnectionInfo:
    """Returns our client's credentials for kopf; they expire soon, so that a rotated token is read again (rule C13)."""
    configuration = cluster.configuration
    token = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, secret = (token or "").partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        scheme=scheme if secret else None,
        token=secret or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        expiration=dt.datetime.now(dt.UTC) + dt.timedelta(minutes=10),
    )


def _settings(mark_progress: Callable[[], None]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # no permissions on CRDs and namespaces, whose set does not change
    settings.posting.enabled = False  # we write our own Events, after the status that they report
    settings.watching.label_selectors["batch", "v1", "jobs"] = LABEL_RUN_UID
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_RUN_UID
    settings.watching.server_timeout = WATCH_SERVER_SECONDS
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = 0.5  # an idle worker ends; 5 s would keep a task for each listed object
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.networking.connect_timeout = 10.0  # instead of 300 s, for a server that accepts and does not answer
    settings.networking.error_backoffs = _Backoffs(mark_progress)
    return settings


class _NoDiffBase(kopf.DiffBaseStorage):
    """Stores nothing to compare with: `on.event` gets every event, but kopf would copy each body for the comparison."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        raise AssertionError("a handler with state was registered: rule C1 allows only `on.event`")


class _Backoffs:
    """Yields jittered pauses without end; kopf iterates anew for each request, which also shows that it is still
    working.
    """

    def __init__(self, mark_progress: Callable[[], None]) -> None:
        self._mark_progress = mark_progress

    def __iter__(self) -> Iterator[float]:
        """Yields 1 s, 2 s, 4 s, then about 5 s forever."""
        for n in itertools.count():
            self._mark_progress()
            yield min(5.0, 2.0**n) * random.uniform(0.75, 1.0)  # noqa: S311 - jitter
