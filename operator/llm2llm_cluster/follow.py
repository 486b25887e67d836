"""Follows a run on a cluster: its object by a watch, and the log of its newest pod, each in a thread of its own.

Neither ends before the run does. A watch that ends or is cut begins anew with the run as it is then, and whoever may
not watch polls. A log is followed until its container ends, and then that of the next pod.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llm2llm.errors import ConfigurationError, StepError, Transient
from llm2llm_cluster.client import CONTAINER, NotFoundError

PAUSE_SECONDS = 2.0
"""Before the next look, where a watch has ended, no container runs, or the API server is away."""
TAIL = 50
"""Lines of a log that are read of those that are there already."""


@dataclass(frozen=True)
class RunIs:
    """The run, as it is now."""

    run: Mapping[str, Any]


@dataclass(frozen=True)
class Gone:
    """The run was deleted."""


@dataclass(frozen=True)
class Refused:
    """The run cannot be read any more."""

    error: StepError


@dataclass(frozen=True)
class Away:
    """The API server cannot be asked for the moment."""

    message: str


@dataclass(frozen=True)
class PodIs:
    """The pod whose log follows."""

    pod: Mapping[str, Any]


@dataclass(frozen=True)
class LogLine:
    """A line of the pod's log."""

    text: str


@dataclass(frozen=True)
class NoLog:
    """The log of the pod cannot be read."""

    message: str


Update = RunIs | Gone | Refused | Away | PodIs | LogLine | NoLog


class Followed(Protocol):
    """A cluster, as far as it is followed (client.Cluster)."""

    def get(self, name: str) -> dict[str, Any]:
        """Returns the run."""

    def changes(self, run: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields what happens to it."""

    def newest_pod(self, run: str, stage: str | None, iteration: int | None) -> dict[str, Any] | None:
        """Returns its newest pod."""

    def log(self, pod: str, *, follow: bool, tail: int | None = None) -> Iterator[str]:
        """Yields lines of the pod's log."""


def follow_run(
    cluster: Followed, run: Mapping[str, Any], *, pause: Callable[[float], object] | None = None
) -> Generator[Update, None, None]:
    """Yields what happens to a run, from its state on that was read, without an end; both threads end with the process.

    Args:
        cluster: where it runs.
        run: the state.
        pause: waits for so many seconds.
    """
    updates: queue.SimpleQueue[Update] = queue.SimpleQueue()
    ended = threading.Event()
    pause = pause or ended.wait
    for target in (_follow_object, _follow_logs):
        threading.Thread(target=target, args=(cluster, run, updates.put, ended, pause), daemon=True).start()
    try:
        while True:
            yield updates.get()
    finally:
        ended.set()


def _follow_object(
    cluster: Followed,
    run: Mapping[str, Any],
    put: Callable[[Update], object],
    ended: threading.Event,
    pause: Callable[[float], object],
) -> None:
    name, uid = run["metadata"]["name"], run["metadata"]["uid"]
    while not ended.is_set():
        try:
            for kind, state in _changes(cluster, run):
                if kind == "DELETED":
                    put(Gone())
                    return
                put(RunIs(state))
        except Transient as error:
            put(Away(error.message))
        pause(PAUSE_SECONDS)
        try:
            run = cluster.get(name)
        except NotFoundError:
            put(Gone())
            return
        except Transient as error:
            put(Away(error.message))
            continue
        except StepError as error:
            put(Refused(error))
            return
        if run["metadata"]["uid"] != uid:
            put(Gone())
            return
        put(RunIs(run))


def _changes(cluster: Followed, run: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields what happens to a run; nothing for those who may not watch, who then poll."""
    try:
        yield from cluster.changes(run)
    except ConfigurationError:
        return


def _follow_logs(
    cluster: Followed,
    run: Mapping[str, Any],
    put: Callable[[Update], object],
    ended: threading.Event,
    pause: Callable[[float], object],
) -> None:
    name, followed, problem = run["metadata"]["name"], "", ""
    recent: deque[str] = deque(maxlen=TAIL)
    while not ended.is_set():
        try:
            pod = cluster.newest_pod(name, None, None)
            if pod is not None and _is_running(pod):
                if pod["metadata"]["uid"] != followed:
                    followed = pod["metadata"]["uid"]
                    put(PodIs(pod))
                for line in cluster.log(pod["metadata"]["name"], follow=True, tail=TAIL):
                    if line not in recent:  # a log that is followed again begins with lines that were read
                        recent.append(line)
                        put(LogLine(line))
            problem = ""
        except Transient:
            pass  # of an API server that is away the other thread tells
        except StepError as error:
            if error.message != problem:
                problem = error.message
                put(NoLog(problem))
        pause(PAUSE_SECONDS)


def _is_running(pod: Mapping[str, Any]) -> bool:
    states = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(state.get("name") == CONTAINER and "running" in (state.get("state") or {}) for state in states)
