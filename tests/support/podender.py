"""A node that runs nothing: it ends every pod of a step as a script says, so that the control plane is under test alone.

The pods' way is the real one: the scheduler binds them to this stand-in's Node, it writes their status as a kubelet
would (Running, then Succeeded or Failed with a termination message), and the Job controller draws its conclusions.

    with PodEnder(cluster, seconds=0.2) as ender:
        ...  # every step ends well with the report that `report_of` makes from its LLM2LLM_STEP

A benchmark may run it as a process of its own: `python -m tests.support.podender --dir CLUSTER --rate 50`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from llm2llm.podenv import CONTAINER
from llm2llm.records import Report, Stage, StepDocument, Usage
from tests.cluster.apiclient import STRATEGIC_MERGE_PATCH, ApiClient, ApiError
from tests.cluster.controlplane import Cluster
from tests.cluster.heartbeat import NodeObject, beat, register
from tests.support import builders

log = logging.getLogger(__name__)
NODE = "pod-ender"
ALLOCATABLE = {"cpu": "1000000", "memory": "1000Ti", "pods": "100000", "nvidia.com/gpu": "100000"}
"""Room for everything: the tests and benchmarks that use it are not about scheduling."""
PODS = "/api/v1/pods"
LOOKS_EVERY = 0.1
NATIVE_SECONDS = 2.0
"""How long a native sidecar takes to end once the step has."""


@dataclass(frozen=True)
class Ending:
    """How a pod's life goes.

    Attributes:
        exit_code: of its container.
        message: its termination message.
        reason: what the kubelet says about an exit code that is not 0.
        seconds: how long its container runs; None: as long as the PodEnder says; math.inf: until it is deleted.
        until: its container runs until this is true, however long the test takes for what it does meanwhile.
        waits: seconds in ContainerCreating before it starts.
        clock: added to the times that this node tells: a clock that is wrong.
        lasts: what its container seems to have run by this node's clock; negative when the clock was set back.
        before: a status that the kubelet writes before `waits` begin; if it says Failed, the container never starts.
        after: merged into the status with its end.
        beside: name of a container that runs on when the step has ended, until the pod is deleted.
        native: that container is an init container that is restarted always: the kubelet ends it soon after the step.
    """

    exit_code: int = 0
    message: str = ""
    reason: str = "Error"
    seconds: float | None = None
    until: Callable[[], bool] | None = None
    waits: float = 0.0
    clock: timedelta = timedelta()
    lasts: timedelta | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    beside: str = ""
    native: bool = False


Script = Callable[[StepDocument], Ending]


def report_of(step: StepDocument) -> Report:
    """The report of a step that went well, the same for every attempt and run but for the run's UID."""
    usage = Usage()
    if step.stage in (Stage.PREPARE, Stage.GENERATE):
        requests = 1 if step.stage is Stage.PREPARE else 30
        usage = Usage(
            teacher_requests=requests, teacher_input_tokens=90 * requests, teacher_output_tokens=20 * requests
        )
    changes = {"run_uid": step.run_uid, "attempt": step.attempt, "usage": usage}
    return builders.report(step.stage, step.iteration, **changes)


def succeed(step: StepDocument) -> Ending:
    """The default script: every step ends well."""
    return Ending(message=report_of(step).to_termination_message())


class PodEnder:
    """Ends the pods that are bound to its Node, in a thread of its own.

    Attributes:
        script: decides how a pod's life goes when it is bound; may be replaced at any time.
        ended: the pods that it ended: namespace, name of the Job, and when (time.monotonic()).
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        seconds: float = 0.0,
        rate: float = math.inf,
        script: Script = succeed,
        node: str = NODE,
    ) -> None:
        """Takes the cluster, where it acts as administrator.

        Args:
            cluster: a cluster that runs.
            seconds: how long a container runs, unless the script says otherwise.
            rate: at most so many pods end in a second.
            script: what the pods do.
            node: name of its Node.
        """
        self.script = script
        self.ended: list[tuple[str, str, float]] = []
        self._kubeconfig = cluster.kubeconfig
        self._node = NodeObject(node, ALLOCATABLE, 0)
        self._seconds = seconds
        self._rate = rate
        self._slot = 0.0
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._deleted: dict[str, asyncio.Event] = {}
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._lost = False
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._main, name=node, daemon=True)

    def __enter__(self) -> PodEnder:
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(RuntimeError):  # it was lost before
            self._stop()
        self._thread.join()
        if self._failure and error is None:
            raise self._failure

    def lose(self) -> None:
        """The node falls silent: its pods and its Node stay as they are, and nobody speaks for them any more."""
        self._lost = True
        self._stop()
        self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._until_stopped())
        except BaseException as error:  # noqa: BLE001 - the starting thread raises it
            self._failure = error
        finally:
            self._ready.set()

    async def _until_stopped(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.create_task(self.run())
        self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)  # TLS transports close in a later turn of the loop (aiohttp's "graceful shutdown")

    async def run(self) -> None:
        """Registers the Node and ends its pods, until cancelled; then the Node goes."""
        async with ApiClient(self._kubeconfig) as self._api, asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await register(self._api, self._node)
            tasks.create_task(beat(self._api, self._node))
            try:
                while True:
                    await self._follow()
            finally:
                if not self._lost:  # nothing is to be bound to a node that nobody is
                    await self._api.request("DELETE", self._node.path)

    async def _follow(self) -> None:
        """One list, and watches from there for as long as the API server has the history."""
        here = {"fieldSelector": f"spec.nodeName={self._node.name}"}
        listed = await self._api.request("GET", PODS, params=here)
        for pod in listed["items"]:
            self._take(pod)
        version = listed["metadata"]["resourceVersion"]
        self._ready.set()
        while True:
            try:
                async for event in self._api.watch(PODS, version, here):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] == "DELETED":
                        self._forget(event["object"]["metadata"]["uid"])
                    elif event["type"] != "BOOKMARK":
                        self._take(event["object"])
            except ApiError as error:
                log.info("the watch of pods ended: %s", error)
                return
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.2)

    def _take(self, pod: dict[str, Any]) -> None:
        uid, ended = pod["metadata"]["uid"], pod["status"].get("phase") in ("Succeeded", "Failed")
        if uid not in self._lives:
            if ended:
                return
            self._deleted[uid] = asyncio.Event()
            self._lives[uid] = self._tasks.create_task(self._live(pod, self._deleted[uid]))
        if "deletionTimestamp" in pod["metadata"]:
            self._deleted[uid].set()

    def _forget(self, uid: str) -> None:
        task = self._lives.pop(uid, None)
        if task is not None:
            task.cancel()
            del self._deleted[uid]

    async def _live(self, pod: dict[str, Any], deleted: asyncio.Event) -> None:
        """A pod from its binding until it is gone; one that is deleted while it runs is stopped as by SIGTERM."""
        ending = self.script(step_of(pod))
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        with contextlib.suppress(ApiError):  # it is gone already
            if ending.before is not None:
                await self._patch(path, ending.before)
                if ending.before.get("phase") == "Failed":
                    await self._go(pod, path, deleted)
                    return
            await _passes(ending.waits, deleted)
            started = datetime.now(UTC) + ending.clock
            running: dict[str, Any] = {"running": {"startedAt": _time(started)}}
            if not deleted.is_set():
                await self._patch(path, _status("Running", running, ending, running))
                await _passes(self._seconds if ending.seconds is None else ending.seconds, deleted)
                while ending.until is not None and not ending.until() and not deleted.is_set():
                    await _passes(LOOKS_EVERY, deleted)
            await self._turn()
            finished = datetime.now(UTC) + ending.clock if ending.lasts is None else started + ending.lasts
            code, message = (143, "") if deleted.is_set() else (ending.exit_code, ending.message)
            end = {"exitCode": code, "reason": ending.reason if code else "Completed", "message": message}
            end |= {"startedAt": _time(started), "finishedAt": _time(finished)}
            state = {"terminated": end}
            if ending.beside:
                await self._patch(path, _status("Running", state, ending, running))
                await _passes(NATIVE_SECONDS if ending.native else math.inf, deleted)
                running = {"terminated": {"exitCode": 143, "reason": "Error"}}
            status = _status("Failed" if code else "Succeeded", state, ending, running)
            await self._patch(path, status | (ending.after or {}))
            await self._go(pod, path, deleted)

    async def _go(self, pod: dict[str, Any], path: str, deleted: asyncio.Event) -> None:
        """A pod that has ended, until its Job is deleted."""
        labels = pod["metadata"].get("labels", {})
        job = labels.get("batch.kubernetes.io/job-name", "")
        self.ended.append((pod["metadata"]["namespace"], job, time.monotonic()))
        await deleted.wait()
        await self._api.request("DELETE", path, {"gracePeriodSeconds": 0})

    async def _patch(self, path: str, status: dict[str, Any]) -> None:
        await self._api.request("PATCH", f"{path}/status", {"status": status}, content_type=STRATEGIC_MERGE_PATCH)

    async def _turn(self) -> None:
        """Waits for this pod's turn to end, by the rate."""
        now = asyncio.get_running_loop().time()
        self._slot = max(now, self._slot + 1 / self._rate)
        await asyncio.sleep(self._slot - now)


def _status(phase: str, step: dict[str, Any], ending: Ending, other: dict[str, Any]) -> dict[str, Any]:
    """The status of a pod whose step is in this state, and whose container beside it, if it has one, is in that."""
    beside = [container_status(ending.beside, other)] if ending.beside else []
    ready = "True" if phase == "Running" and "running" in step else "False"
    now = _time(datetime.now(UTC))
    return {
        "phase": phase,
        "conditions": [
            {"type": kind, "status": ready, "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
        ],
        "containerStatuses": [container_status(CONTAINER, step), *([] if ending.native else beside)],
    } | ({"initContainerStatuses": beside} if ending.native else {})


def container_status(name: str, state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The status of one container, as a kubelet writes it."""
    known = {"name": name, "image": "-", "imageID": "", "restartCount": 0, "ready": "running" in state}
    return known | {"state": state} | fields


def step_of(pod: dict[str, Any]) -> StepDocument:
    """The step document in a pod's environment."""
    env = {entry["name"]: entry.get("value", "") for entry in pod["spec"]["containers"][0].get("env", [])}
    return StepDocument.model_validate_json(env["LLM2LLM_STEP"])


async def _passes(seconds: float, deleted: asyncio.Event) -> None:
    """Waits so long, or until the pod is deleted."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(deleted.wait(), None if seconds == math.inf else seconds)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> int:
    """Ends the pods of a cluster that was started before, until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="the cluster's folder")
    parser.add_argument("--rate", type=float, default=math.inf, help="pods a second")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a container runs")
    options = parser.parse_args()
    cluster = Cluster(options.dir)
    if not cluster.attach():
        raise SystemExit(f"no cluster runs in {options.dir}")
    ender = PodEnder(cluster, seconds=options.seconds, rate=options.rate)
    print(json.dumps({"node": NODE}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(ender.run())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
