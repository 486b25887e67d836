"""A cluster whose answers about a run that is followed are a script."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llm2llm.errors import ConfigurationError, Transient
from llm2llm_cluster.client import NotFoundError

AWAY = Transient("the API server answered 503: shutting down")
FORBIDDEN = ConfigurationError("the API server answered 403: pods is forbidden")
MISSING = NotFoundError("there is no AugmentationRun r in namespace ml")


def state(message: str = "m", uid: str = "u") -> dict[str, Any]:
    return {"metadata": {"name": "r", "uid": uid, "resourceVersion": message}, "status": {"message": message}}


def pod(name: str, *, running: bool = True) -> dict[str, Any]:
    status = {"containerStatuses": [{"name": "step", "state": {"running": {}} if running else {"terminated": {}}}]}
    return {"metadata": {"name": name, "uid": f"uid-of-{name}"}, "status": status}


class Scripted:
    """A cluster that answers so, in turn; what it is asked beyond that it leaves open."""

    def __init__(
        self,
        states: Sequence[Any] = (),
        watches: Sequence[Any] = (),
        pods: Sequence[Any] = (),
        logs: Sequence[Any] = (),
    ) -> None:
        self.states, self.watches, self.pods, self.logs = (iter(each) for each in (states, watches, pods, logs))
        self.open = threading.Event()
        self.tails: list[int | None] = []

    def _next(self, answers: Iterator[Any]) -> Any:
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            return answer
        self.open.wait()
        raise AWAY

    def get(self, _: str) -> dict[str, Any]:
        found: dict[str, Any] = self._next(self.states)
        return found

    def changes(self, _: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for event in self._next(self.watches):
            if isinstance(event, Exception):
                raise event
            yield event

    def newest_pod(self, *_: Any) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._next(self.pods)
        return found

    def log(self, _: str, *, follow: bool, tail: int | None = None) -> Iterator[str]:
        assert follow
        self.tails.append(tail)
        for line in self._next(self.logs):
            if isinstance(line, Exception):
                raise line
            yield line
