"""kopf never tells what vanished while it did not watch: where it lists anew, so do we (rule C3, fault 8)."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import kopf
import pytest

from llm2llm_operator.constants import LABEL_RUN, LABEL_RUN_UID
from llm2llm_operator.kube import decode as wire
from llm2llm_operator.observability import metrics
from llm2llm_operator.watch import informer as module
from llm2llm_operator.watch.cache import Cache
from llm2llm_operator.watch.informer import WATCH_DEATHS_LIMIT, Informer

RUN = {"metadata": {"namespace": "ns", "name": "r", "uid": "u", "resourceVersion": "1"}, "spec": {}}
JOB = {
    "metadata": {"namespace": "ns", "name": "j", "uid": "j", "resourceVersion": "2", "labels": {LABEL_RUN: "r", LABEL_RUN_UID: "u"},
                 "ownerReferences": [{"uid": "u", "controller": True}]}
}  # fmt: skip


class Listed:
    """A cluster that has one run and, until it vanishes, a Job."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {"runs": [RUN], "jobs": [JOB], "pods": []}

    async def pages(self, collection: str, _namespace: str = "") -> AsyncIterator[wire.Page]:
        yield wire.decode_page(
            json.dumps({"metadata": {"resourceVersion": "10"}, "items": self.lists[collection]}).encode()
        )


def test_a_job_that_vanished_unseen_is_missed_soon_after_kopf_listed_anew(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "AFTER_KOPF_LISTED_SECONDS", 0.01)

    async def scenario() -> tuple[int, int]:
        cluster, cache = Listed(), Cache()
        asked: list[object] = []
        informer = Informer(cluster, cache, lambda key, **_: asked.append(key), (), 300)  # type: ignore[arg-type]
        monkeypatch.setattr(informer, "_supervise", lambda: asyncio.sleep(300))
        task = asyncio.create_task(informer.run())
        await informer.synced.wait()
        cluster.lists["jobs"] = []
        asked.clear()
        informer._on_watch_event("runs", None, RUN)
        deadline = time.monotonic() + 3  # the first list of its own is due after 4.5 s at the earliest
        run = cache.run(("ns", "r"))
        assert run
        while cache.observation(run).jobs and time.monotonic() < deadline:  # noqa: ASYNC110 - the cache has no event
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        return len(cache.observation(run).jobs), len(asked)

    left, asked = asyncio.run(scenario())
    assert left == 0
    assert asked


@pytest.mark.parametrize("odd", [{"startedAt": "0000-01-01T00:00:00Z"}, {"startedAt": 7}], ids=["year 0", "a number"])
def test_fault_53_an_object_that_cannot_be_read_costs_no_other_one_anything(odd: dict[str, Any]):
    """In a list, and in an event."""
    labels = {LABEL_RUN: "r", LABEL_RUN_UID: "u"}
    pod = {"namespace": "ns", "name": "p", "uid": "p", "resourceVersion": "3", "labels": labels}
    unreadable = {"metadata": pod, "status": {"containerStatuses": [{"name": "step", "state": {"running": odd}}]}}
    cluster, cache = Listed(), Cache()
    asked: list[object] = []
    informer = Informer(cluster, cache, lambda key, **_: asked.append(key), (), 300)  # type: ignore[arg-type]
    cluster.lists["pods"] = [unreadable]
    before = metrics.UNREADABLE_OBJECTS._value.get()
    asyncio.run(informer._relist(first=True, every_run=True))
    informer._on_watch_event("pods", "MODIFIED", unreadable)
    assert asked == [("ns", "r")]
    assert metrics.UNREADABLE_OBJECTS._value.get() == before + 2


def test_watches_that_die_again_and_again_without_an_event_between_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(random, "uniform", lambda *_: 0.01)
    monkeypatch.setattr(kopf, "spawn_tasks", Mock(side_effect=KeyError("getpwuid(): uid not found: 65532")))

    async def scenario() -> tuple[int, int, int]:
        informer = Informer(Listed(), Cache(), lambda *_, **__: None, (), 300)  # type: ignore[arg-type]
        at_start = informer.watch_deaths()
        supervisor = asyncio.create_task(informer._supervise())
        deadline = time.monotonic() + 10
        while informer.watch_deaths() < WATCH_DEATHS_LIMIT and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        supervisor.cancel()
        await asyncio.wait({supervisor})
        dead = informer.watch_deaths()
        informer._on_watch_event("runs", "MODIFIED", RUN)
        return at_start, dead, informer.watch_deaths()

    at_start, dead, after_an_event = asyncio.run(scenario())
    assert (at_start, after_an_event) == (0, 0)
    assert dead >= WATCH_DEATHS_LIMIT
