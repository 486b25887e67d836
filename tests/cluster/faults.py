"""Faults of the node on request: the agent's control endpoint, and the client that tests use.

The endpoint listens on loopback without authentication; its URL is in `<node folder>/control.json`.

    faults = NodeFaults(folder)
    faults.evict(Match(namespace="a", job="train"))
    with faults.hold(Match(namespace="a")):
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.cluster.apiclient import ApiClient
from tests.cluster.faultrules import Match, Rule, Rules
from tests.cluster.podworker import PodWorker

CONTROL_FILE = "control.json"
EVICTED_MESSAGE = "The node was low on resource: memory."


class FaultError(RuntimeError):
    """The agent refused, or no pod matched in time."""


class FaultServer:
    """The agent's side."""

    def __init__(self, rules: Rules, api: ApiClient, workers: Callable[[], list[PodWorker]]) -> None:
        self._rules, self._api, self._workers = rules, api, workers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/once/{kind}", self._once),
            web.post("/rules", self._add),
            web.delete("/rules", self._release),
            web.post("/node/{state}", self._node),
        ]

    async def _once(self, request: web.Request) -> web.Response:
        asked = await request.json()
        match, count, deadline = Match(**asked["match"]), asked["count"], time.monotonic() + asked["wait_seconds"]
        while True:
            # The oldest first, so that a count means the same pods every time.
            found = [worker for worker in self._workers() if worker.running and match.accepts(worker.pod)]
            if found or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        if not found:
            raise web.HTTPNotFound(text=f"no running pod of this node matches {asked['match']}")
        for worker in found[:count]:
            match request.match_info["kind"]:
                case "evict":
                    worker.evict(asked["reason"], asked["message"], asked["grace"])
                case "oom":
                    worker.kill(out_of_memory=True)
                case "kill":
                    worker.kill(out_of_memory=False)
                case kind:
                    raise web.HTTPNotFound(text=f"no fault {kind}")
        return web.json_response([worker.pod["metadata"]["name"] for worker in found[:count]])

    async def _add(self, request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(self._rules.add(Rule(**{**asked, "match": Match(**asked["match"])})))

    async def _release(self, request: web.Request) -> web.Response:
        try:
            self._rules.release(request.query.get("id"))
        except KeyError:
            raise web.HTTPNotFound(text=f"no such rule: {request.query.get('id')}") from None
        return web.json_response(None)

    async def _node(self, request: web.Request) -> web.Response:
        if request.match_info["state"] == "lost":
            self._api.connected.clear()
        else:
            self._api.connected.set()
        return web.json_response(None)


class NodeFaults:
    """The test's side, for synchronous callers; each call returns when the fault is in force."""

    def __init__(self, folder: Path) -> None:
        """Takes the node's folder."""
        self.url: str = json.loads((folder / CONTROL_FILE).read_text())["url"]

    def evict(
        self,
        match: Match,
        *,
        count: int | None = None,
        wait_seconds: float = 10.0,
        grace: float | None = None,
        reason: str = "TerminationByKubelet",
        message: str = EVICTED_MESSAGE,
    ) -> list[str]:
        """Evicts running pods: SIGTERM, grace, then Failed/Evicted with the condition DisruptionTarget.

        Args:
            match: which pods.
            count: how many of them at most, the oldest first; None for all.
            wait_seconds: how long to wait for a running pod that matches.
            grace: None takes the pod's own `terminationGracePeriodSeconds`.
            reason: the condition's reason.
            message: the pod's and the condition's message.

        Returns:
            The names of the pods.
        """
        extra = {"reason": reason, "message": message, "grace": grace}
        return self._once("evict", match, count, wait_seconds, extra)

    def oom(self, match: Match, *, count: int | None = None, wait_seconds: float = 10.0) -> list[str]:
        """Kills running pods with reason OOMKilled and exit code 137."""
        return self._once("oom", match, count, wait_seconds)

    def kill(self, match: Match, *, count: int | None = None, wait_seconds: float = 10.0) -> list[str]:
        """SIGKILL to running pods' processes, at once: reason Error, exit code 137."""
        return self._once("kill", match, count, wait_seconds)

    @contextmanager
    def hold(self, match: Match, *, count: int | None = None) -> Iterator[str]:
        """Pods that match stay ContainerCreating until the block ends."""
        with self._rule("hold", match, count) as name:
            yield name

    @contextmanager
    def image_pull_backoff(self, match: Match, *, count: int | None = None) -> Iterator[str]:
        """Pods that match wait with ErrImagePull, then ImagePullBackOff, and start when the block ends."""
        with self._rule("image_pull_backoff", match, count) as name:
            yield name

    @contextmanager
    def invalid_image_name(self, match: Match, *, count: int | None = None) -> Iterator[str]:
        """Pods that match wait with InvalidImageName, and start when the block ends."""
        with self._rule("invalid_image_name", match, count) as name:
            yield name

    @contextmanager
    def stuck_terminating(self, match: Match, *, count: int | None = None, keep_running: bool = False) -> Iterator[str]:
        """Deleted pods that match get no terminal status and do not go until the block ends.

        Args:
            match: which pods.
            count: how many of them at most.
            keep_running: their processes are not even asked to end before.
        """
        with self._rule("stuck_terminating", match, count, keep_running=keep_running) as name:
            yield name

    @contextmanager
    def node_lost(self) -> Iterator[None]:
        """The node tells the API server nothing and hears nothing; its processes go on."""
        self._call("POST", "/node/lost")
        try:
            yield
        finally:
            self.node_back()

    def node_back(self) -> None:
        """Ends `node_lost`."""
        self._call("POST", "/node/back")

    def release(self, name: str | None = None) -> None:
        """Ends one lasting fault before its block does, or all of them."""
        self._call("DELETE", "/rules" + (f"?id={name}" if name else ""))

    @contextmanager
    def _rule(self, kind: str, match: Match, count: int | None, **extra: Any) -> Iterator[str]:
        name: str = self._call("POST", "/rules", {"kind": kind, "match": match.as_json(), "count": count, **extra})
        try:
            yield name
        finally:
            with contextlib.suppress(FaultError):  # released by hand inside the block
                self.release(name)

    def _once(
        self, kind: str, match: Match, count: int | None, wait_seconds: float, extra: dict[str, Any] | None = None
    ) -> list[str]:
        body = {"match": match.as_json(), "count": count, "wait_seconds": wait_seconds, **(extra or {})}
        names: list[str] = self._call("POST", f"/once/{kind}", body)
        return names

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise FaultError(error.read().decode()) from error
