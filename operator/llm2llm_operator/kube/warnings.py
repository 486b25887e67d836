"""Reads the warnings of a namespace for all of its runs together.

A run that waits is looked at again and again, and sixty of them in one namespace would each list the same Events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.model.observation import Event, event_from_object
from llm2llm_operator.observability import metrics

log = logging.getLogger(__name__)
FRESH_SECONDS = 15.0
"""How long a list of warnings serves all runs of its namespace; shorter than the time between two looks of one run."""
MESSAGE_CHARACTERS = 1024
"""As much of a warning as Kubernetes itself writes."""
KEPT = 5
"""Newest warnings that are kept of an object; the reason of a wait is the newest that still matters."""
ABOUT = ("Job", "Pod")


@dataclass
class _List:
    answer: asyncio.Task[dict[str, list[Event]]]
    ended_at: float | None = None


class Warnings:
    """The warnings about Jobs and pods, by namespace; for use in one event loop."""

    def __init__(self, cluster: KubeClient) -> None:
        self._cluster = cluster
        self._lists: dict[str, _List] = {}

    async def about(self, namespace: str, uids: Collection[str], now: datetime) -> tuple[Event, ...]:
        """Returns the newest warnings about objects with these UIDs, at most FRESH_SECONDS old. Raises ApiError."""
        moment = asyncio.get_running_loop().time()
        self._lists = {
            name: each
            for name, each in self._lists.items()
            if each.ended_at is None or moment - each.ended_at < FRESH_SECONDS
        }
        if namespace not in self._lists:
            self._lists[namespace] = self._start(namespace, now)
        by_uid = await asyncio.shield(self._lists[namespace].answer)
        return tuple(event for uid in uids for event in by_uid.get(uid, ()))

    def _start(self, namespace: str, now: datetime) -> _List:
        started = _List(asyncio.create_task(self._read(namespace, now)))

        def end(answer: asyncio.Task[dict[str, list[Event]]]) -> None:
            started.ended_at = asyncio.get_running_loop().time()
            failed = answer.cancelled() or answer.exception() is not None
            if failed and self._lists.get(namespace) is started:
                del self._lists[namespace]  # the next run asks again

        started.answer.add_done_callback(end)
        return started

    async def _read(self, namespace: str, now: datetime) -> dict[str, list[Event]]:
        by_uid: dict[str, list[Event]] = {}
        async for body in self._cluster.warnings(namespace):
            event = _read_event(body, now)
            if event is not None:
                known = by_uid.setdefault(body["involvedObject"]["uid"], [])
                known.append(replace(event, message=event.message[:MESSAGE_CHARACTERS]))
                known.sort(key=lambda each: each.moment)
                del known[:-KEPT]
        return by_uid


def _read_event(body: dict[str, Any], now: datetime) -> Event | None:
    """Reads a warning about a Job or pod; one that cannot be read costs no other one anything (rule C19)."""
    about = body.get("involvedObject") or {}
    if about.get("kind") not in ABOUT or not about.get("uid"):
        return None
    try:
        return event_from_object(body, now)
    except Exception:
        log.exception("skipped an Event: it cannot be read")
        metrics.UNREADABLE_OBJECTS.inc()
        return None
