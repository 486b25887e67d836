"""All of kopf: the watches, their supervisor, and how the cache is known to be whole.

kopf gives reliable watches and nothing else here: three `on.event` handlers that take an object into the cache and ask
for a pass. Its handlers with state would write annotations and finalizers to the user's objects (rule C1).
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
from llm2llm_operator.kube.client import COLLECTIONS, KubeClient
from llm2llm_operator.kube.errors import ApiError, Forbidden, NotFound
from llm2llm_operator.model.run import Key
from llm2llm_operator.observability import metrics
from llm2llm_operator.watch.cache import Cache

log = logging.getLogger(__name__)
EARLY_RELISTS = (5.0, 30.0)
"""Seconds after start: what vanished between our first list and kopf's first watch is found soon."""
AFTER_KOPF_LISTED_SECONDS = 2.0
"""So long after kopf has listed (a 410, a restart) we list, too: it never tells what vanished while it was blind."""
KOPFS_PAGE = 250
"""Objects in one answer to a list of kopf's, which decodes all of it at once, and holds our loop meanwhile."""
WATCH_SERVER_SECONDS = 240
"""The API server ends each watch after so long, and the next request shows that kopf goes on."""
WATCH_STALL_SECONDS = 420.0
"""Longer than any request that kopf waits for: a list has 300 s, a watch 240 s and its last 70 s."""
WATCH_DEATHS_LIMIT = 5
"""Health fails when the watches died so often in a row without an event between: they see nothing, however often the
supervisor starts them again."""
WATCH_LIFE_SECONDS = 60.0
"""Watches that lived for so long were no part of such a row, also where there was nothing to tell of."""

KOPF_IDENTITY: Any = OPERATOR
"""Our name in kopf's peering, which is off. Left to itself, kopf asks the host for the user's name (`getpass.getuser`),
and dies where the UID has no passwd entry, as in our own image."""


class Enqueue(Protocol):
    """Asks for a pass over a run; what is not urgent waits until nothing urgent does."""

    def __call__(self, key: Key, *, urgent: bool = True) -> None: ...


ENDING_SECONDS = 10.0
"""Kopf gives its own tasks 5 s when one of them ended."""


class CrdMissing(Exception):
    """The API server does not know AugmentationRuns: the chart's CRD is not installed."""


class Informer:
    """Keeps the cache in step with the cluster; `synced` is set once it is whole."""

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
        """Watches, seeds and lists again, until cancelled. Raises CrdMissing at start."""
        await self._relist(first=True, every_run=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._supervise())
            tasks.create_task(self._relist_forever())

    async def relist_until_ok(self) -> None:
        """Lists everything, however long the API server is away; asks for a pass over every run."""
        while True:
            try:
                return await self._relist(every_run=True)
            except ApiError as error:
                log.warning("waiting for a fresh list: %s", error)
                await asyncio.sleep(1)

    def seconds_since_watch_activity(self) -> float:
        """Seconds since kopf last sent a request or told of an object; that requests fail is no silence."""
        return max(0.0, time.monotonic() - self._progressed_at)

    def watch_deaths(self) -> int:
        """How often in a row the watches died soon after their start, without one event between."""
        return self._deaths

    def _mark_progress(self) -> None:
        self._progressed_at = time.monotonic()

    async def _relist_forever(self) -> None:
        for pause in itertools.chain(EARLY_RELISTS, itertools.repeat(self._resync)):
            with contextlib.suppress(TimeoutError):
                jitter = random.uniform(0.9, 1.1)  # noqa: S311
                await asyncio.wait_for(self._kopf_listed.wait(), min(pause, self._resync) * jitter)
                await self._kopf_has_listed()
            self._kopf_listed.clear()
            try:
                await self._relist()
            except ApiError as error:
                log.warning("cannot list: %s", error)
                self._kopf_listed_at = time.monotonic()
                self._kopf_listed.set()  # soon again

    async def _kopf_has_listed(self) -> None:
        """Waits until no item of kopf's list came for a while: each is told on its own, and the last one by no sign."""
        quiet = 0.0
        while quiet < AFTER_KOPF_LISTED_SECONDS:
            await asyncio.sleep(AFTER_KOPF_LISTED_SECONDS - quiet)
            quiet = time.monotonic() - self._kopf_listed_at

    async def _relist(self, *, first: bool = False, every_run: bool = False) -> None:
        """Lists everything, diffs it against the cache, and asks for a pass over each run that has not ended.

        Args:
            first: nothing was listed before; waits for the API server.
            every_run: also over those that ended and did not change since: nobody has looked at them yet.
        """
        # Beside each other: while one answer is read here, the API server writes another. Nothing is decided meanwhile.
        lists = [asyncio.create_task(self._list(collection, first=first)) for collection in COLLECTIONS]
        try:
            changed = set[Key]().union(*await asyncio.gather(*lists))
        finally:
            for task in lists:
                task.cancel()
        self.synced.set()
        for key in self._cache.keys():  # noqa: SIM118 - a method, not a dict's
            at_rest = self._cache.finished(key)
            if every_run or not at_rest or key in changed:
                self._enqueue(key, urgent=not at_rest if every_run else key in changed)

    async def _list(self, collection: str, *, first: bool) -> set[Key]:
        while True:
            try:
                return await self._take_list(collection)
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

    async def _take_list(self, collection: str) -> set[Key]:
        """One list into the cache, a page at a time: all of it at once would be most of our memory."""
        changed: set[Key] = set()
        listed: set[str] = set()
        versions: list[int] = []
        for namespace in self._namespaces or ("",):
            async for page in self._cluster.pages(collection, namespace):
                versions.append(page.version)
                for item in page.items:
                    listed.add(item.uid)
                    if self._cache.knows(collection, item.uid, item.version):
                        continue
                    key = self._cache.put(collection, item.document())
                    if key:
                        changed.add(key)
                        if self.synced.is_set():  # what we told ourselves first is no news when the watch tells it
                            self._enqueue(key)
        return changed | self._cache.retain(collection, listed, min(versions))

    async def _supervise(self) -> None:
        """Kopf ends on a 404, a 410 in a chunk, a watch ERROR 500 or 5xx beyond its patience: restart it (rule C13)."""
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
        """Kopf in a thread and loop of its own: it takes SIGTERM, and when it ends it cancels all tasks of its loop."""
        try:
            uvloop.run(self._watch_until_it_ends(loop, stop, ended))
        except Exception:
            log.exception("the watches ended; restarting them")
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

    async def _watch_until_it_ends(
        self, loop: asyncio.AbstractEventLoop, stop: threading.Event, ended: asyncio.Event
    ) -> None:
        """Tells that it ended also where kopf does not come to an end.

        A watch that lost its session waits for credentials, whose task may have ended before it; and a thread of
        kopf's waits for `stop`, without which `asyncio.run` never returns.
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
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ours = {task for task in [asyncio.current_task()] if task}
            ending = asyncio.create_task(kopf.run_tasks(tasks, ignored=ours))
            await asyncio.wait({ending}, timeout=ENDING_SECONDS)
            if ending.done():
                ending.result()
            log.warning("the watches ended; restarting them")
        finally:
            stop.set()
            with contextlib.suppress(RuntimeError):  # our loop is closed: the process ends
                loop.call_soon_threadsafe(ended.set)

    def _on_watch_event(self, collection: str, kind: str | None, body: dict[str, Any]) -> None:
        """Takes one watch event into the cache, in our own loop."""
        self._mark_progress()
        self._deaths = 0
        metrics.WATCH_EVENTS.labels(collection).inc()
        if kind is None:
            self._kopf_listed_at = self._progressed_at
            self._kopf_listed.set()
        if kind == "DELETED":
            key = self._cache.drop(collection, body["metadata"]["uid"])
        else:
            key = self._cache.put(collection, body)
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
    """Our client's credentials for kopf; they expire soon, so that a rotated token is read again (rule C13)."""
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


def _settings(move: Callable[[], None]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # no rights on CRDs and namespaces; what is served does not change
    settings.posting.enabled = False  # our events are written after the status that they tell of
    settings.watching.label_selectors["batch", "v1", "jobs"] = LABEL_RUN_UID
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_RUN_UID
    settings.watching.server_timeout = WATCH_SERVER_SECONDS
    settings.watching.chunk_size = KOPFS_PAGE
    settings.queueing.idle_timeout = 0.5  # after which an object's worker ends: 5 s keep a task for each one listed
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.networking.connect_timeout = 10.0  # else 300 s: a server that accepts and does not answer
    settings.networking.error_backoffs = _Backoffs(move)
    return settings


class _NoDiffBase(kopf.DiffBaseStorage):
    """Nothing is remembered to be compared: `on.event` is told of everything, but kopf would copy each body for it."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        raise AssertionError("a handler with state was registered: rule C1 allows only `on.event`")


class _Backoffs:
    """Endless jittered pauses; kopf iterates anew for each request, which is also how we hear that it goes on."""

    def __init__(self, move: Callable[[], None]) -> None:
        self._mark_progress = move

    def __iter__(self) -> Iterator[float]:
        """1 s, 2 s, 4 s, then about 5 s for ever."""
        for n in itertools.count():
            self._mark_progress()
            yield min(5.0, 2.0**n) * random.uniform(0.75, 1.0)  # noqa: S311 - jitter
