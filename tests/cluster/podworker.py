"""The life of one pod on the node, from bound to gone.

One task a pod, from top to bottom: `run` reads like the list of what a kubelet does. Everything that can stop it early
(deletion, eviction, the pod vanishing) goes through `terminate`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.cluster import podspec, podstatus
from tests.cluster.apiclient import STRATEGIC_MERGE_PATCH, ApiClient, ApiError
from tests.cluster.faultrules import Lasting, Rules
from tests.cluster.launcher import Launcher, Process
from tests.cluster.podfolder import PodFolder
from tests.cluster.podobjects import PodObjects
from tests.cluster.podspec import Spec
from tests.cluster.podstatus import PodState, Running, State, Terminated, Waiting

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 0.5
_FAULT_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Node:
    """What the pods of a node share."""

    name: str
    api: ApiClient
    folder: Path
    host_ip: str
    allocatable: Mapping[str, str]
    image_env: Mapping[str, str]
    service_env: Mapping[str, str]
    rules: Rules
    launcher_for: Callable[[str], Launcher]


class _Stopped(Exception):
    """The pod shall end before its containers ran."""


class PodWorker:
    """One pod on this node."""

    def __init__(self, node: Node, pod: Spec, pod_ip: str) -> None:
        self.pod = pod
        self.folder = PodFolder(node.folder, pod)
        self._node = node
        self._host = podspec.Host(node.host_ip, pod_ip, node.allocatable)
        self._objects = PodObjects(node.api, node.name, pod)
        self._processes: dict[str, Process] = {}
        self._stopping = asyncio.Event()
        self._deleted = asyncio.Event()
        self._kill_at = float("inf")
        self._killing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        first = Waiting("PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating")
        names = [one["name"] for one in podspec.all_containers(pod)]
        self.state = PodState(dict.fromkeys(names, first), datetime.now(UTC), node.host_ip)

    @property
    def running(self) -> bool:
        """Whether a container of it runs."""
        return any(isinstance(one, Running) for one in self.state.containers.values())

    async def run(self) -> None:
        """Does all that a kubelet does for a pod, and returns when the pod is gone from the API server."""
        ended_before = self.pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if not ended_before:
            try:
                await self._run_containers()
            except _Stopped:
                _log.debug("%s ends before its containers ran", self.pod["metadata"]["name"])
            if self._killing is not None:
                await self._killing
            await self._wait_while_stuck()
            self._end_what_never_ran()
            await self._write_status()
        await self._deleted.wait()
        await self._wait_while_stuck()
        await self._delete()

    def updated(self, pod: Spec) -> None:
        """Takes the pod's newest version."""
        self.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self.state = replace(self.state, deleted=True)
            self._deleted.set()
            if self._ending is None:
                self._ending = asyncio.create_task(self._end())
            elif self._ending.done():
                self.terminate(pod["metadata"].get("deletionGracePeriodSeconds") or 0)

    def vanished(self) -> None:
        """The pod is gone from the API server (a forced deletion): its processes go at once."""
        self.kill(out_of_memory=False)
        for task in (self._killing, self._ending):
            if task is not None:
                task.cancel()

    def evict(self, reason: str, message: str, grace: float | None) -> None:
        """Ends the pod as a kubelet under pressure does: Failed, Evicted, with the condition DisruptionTarget."""
        self.state = replace(self.state, reason="Evicted", message=message, disruption=(reason, message))
        own = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        self.terminate(own if grace is None else grace)

    def terminate(self, grace: float) -> None:
        """Asks the containers to end, and kills them after the grace; a later call can only shorten it."""
        self._kill_at = min(self._kill_at, time.monotonic() + grace)
        if self._killing is None:
            self._killing = asyncio.create_task(self._kill())
        self._stopping.set()

    def kill(self, *, out_of_memory: bool) -> None:
        """SIGKILL to the containers' first processes, as the kernel's out-of-memory killer or anybody would."""
        for process in self._processes.values():
            process.out_of_memory = out_of_memory
            process.kill(signal.SIGKILL)

    async def _run_containers(self) -> None:
        if self.pod["status"].get("containerStatuses") and self._ran_before():
            return
        await self._write_status()
        await self._refuse_what_is_not_supported()
        await self._release("hold")
        for container in podspec.all_containers(self.pod):
            await self._pull(container)
        await self._make_volumes()
        self.state = replace(self.state, pod_ip=self._host.pod_ip)
        for container in self.pod["spec"].get("initContainers", []):
            await self._run_container(container)
            if self._failed(container["name"]):
                return
        main = [self._run_container(container) for container in self.pod["spec"]["containers"]]
        for outcome in await asyncio.gather(*main, return_exceptions=True):  # all have ended, then the first trouble
            if isinstance(outcome, BaseException):
                raise outcome

    def _ran_before(self) -> bool:
        """Whether an earlier agent had started its containers: they are gone, and never started twice."""
        before = [*self.pod["status"].get("initContainerStatuses", []), *self.pod["status"]["containerStatuses"]]
        if not any("running" in one["state"] or "terminated" in one["state"] for one in before):
            return False
        for one in before:
            self.state = self.state.with_container(one["name"], podstatus.lost(datetime.now(UTC)))
        return True

    async def _refuse_what_is_not_supported(self) -> None:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        if policy == "Never":
            return
        message = f"this test node runs pods with restartPolicy Never only, not {policy}"
        await self._objects.warn("UnsupportedRestartPolicy", message)
        await self._wait_with(Waiting("UnsupportedRestartPolicy", message))
        await self._stopping.wait()
        raise _Stopped

    async def _pull(self, container: Spec) -> None:
        """There are no images: this is where their faults are played."""
        rules, image, name = self._node.rules, container.get("image", ""), container["name"]
        if rules.find("invalid_image_name", self.pod):
            words = (
                f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": invalid reference'
            )
            await self._set(name, Waiting("InvalidImageName", f"{words} format"))
            await self._objects.warn("InspectFailed", f"{words} format")
            await self._release("invalid_image_name")
        if rules.find("image_pull_backoff", self.pod):
            words = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": not found'
            await self._set(name, Waiting("ErrImagePull", words))
            await self._objects.warn("Failed", f'Failed to pull image "{image}": {words}')
            await self._pause(1.0)
            await self._set(
                name, Waiting("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {words}')
            )
            await self._objects.warn("BackOff", f'Back-off pulling image "{image}"')
            await self._release("image_pull_backoff")

    async def _make_volumes(self) -> None:
        said = ""
        while True:
            try:
                self.folder.make(podspec.volumes(self.pod, await self._objects.fetch(), self._host))
            except podspec.MountError as error:
                if str(error) != said:
                    said = str(error)
                    await self._objects.warn("FailedMount", said)
                await self._pause(_RETRY_SECONDS)
            else:
                return

    async def _run_container(self, container: Spec) -> None:
        name, uid = container["name"], self.pod["metadata"]["uid"]
        env, argv = await self._configuration(container)
        view = self.folder.view(container, self._host.pod_ip)
        if self._stopping.is_set():
            raise _Stopped
        launcher = self._node.launcher_for(argv[0])
        process = self._processes[name] = launcher.run(f"{uid}/{name}", argv, env, self.folder.log(name), view)
        await process.started
        started_at = datetime.now(UTC)
        if self._kill_at < float("inf"):  # asked to end while it was being started
            process.kill(signal.SIGTERM)
        if process.error is None:
            await self._set(name, Running(started_at))
        status = await process.ended
        code = podstatus.exit_code(status)
        reason = "Completed" if code == 0 else "OOMKilled" if process.out_of_memory else "Error"
        message = self.folder.termination_message(container, code)
        if process.error is not None:
            code, reason, message = podstatus.START_ERROR, "StartError", f"failed to start container: {process.error}"
        ended = Terminated(code, reason, started_at, datetime.now(UTC), message)
        self.state = self.state.with_container(name, ended)
        if podstatus.phase(self.pod, self.state) not in ("Succeeded", "Failed"):  # the last status is written by `run`
            await self._write_status()

    async def _configuration(self, container: Spec) -> tuple[dict[str, str], list[str]]:
        """Environment and command; waits as CreateContainerConfigError while something is missing."""
        image = {**self._node.image_env, "HOSTNAME": self.pod["metadata"]["name"][:63]}
        while True:
            try:
                objects = await self._objects.fetch()
                env = podspec.environment(self.pod, container, objects, self._host, self._node.service_env)
                return {**image, **env}, podspec.command(container, env)
            except podspec.ContainerConfigError as error:
                waiting = Waiting("CreateContainerConfigError", str(error))
                if self.state.containers[container["name"]] != waiting:
                    await self._set(container["name"], waiting)
                    await self._objects.warn("Failed", f"Error: {error}")
                await self._pause(_RETRY_SECONDS)

    async def _kill(self) -> None:
        # A container that is being forked has no pid yet: `_run_container` signals it once it has.
        for process in self._processes.values():
            process.kill(signal.SIGTERM)
        while any(not process.ended.done() for process in self._processes.values()):
            left = self._kill_at - time.monotonic()
            if left <= 0:
                self.kill(out_of_memory=False)
            waiting = [process.ended for process in self._processes.values() if not process.ended.done()]
            await asyncio.wait(waiting, timeout=min(max(left, 0.05), 0.5))

    def _end_what_never_ran(self) -> None:
        if not (self.state.deleted or self.state.reason):
            return
        for name, state in self.state.containers.items():
            if isinstance(state, Waiting):
                self.state = self.state.with_container(name, podstatus.lost(datetime.now(UTC)))

    def _failed(self, name: str) -> bool:
        state = self.state.containers[name]
        return isinstance(state, Terminated) and state.exit_code != 0

    async def _wait_with(self, waiting: Waiting) -> None:
        for name in self.state.containers:
            self.state = self.state.with_container(name, waiting)
        await self._write_status()

    async def _set(self, name: str, state: State) -> None:
        self.state = self.state.with_container(name, state)
        await self._write_status()

    async def _write_status(self) -> None:
        meta = self.pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        async with self._writing:
            status = podstatus.status(self.pod, self.state, datetime.now(UTC))
            patch = {"metadata": {"uid": meta["uid"]}, "status": status}
            try:
                answer = await self._node.api.request("PATCH", path, patch, content_type=STRATEGIC_MERGE_PATCH)
            except ApiError as error:
                if error.code not in (404, 409):  # gone, or another pod of that name
                    raise
            else:
                self.pod = {**self.pod, "status": answer["status"]}

    async def _delete(self) -> None:
        meta = self.pod["metadata"]
        body: dict[str, Any] = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        with contextlib.suppress(ApiError):  # 404, 409: it is gone already
            await self._node.api.request("DELETE", f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}", body)

    async def _release(self, kind: Lasting) -> None:
        """Waits, before the containers run, while a lasting fault is in force for the pod."""
        while self._node.rules.find(kind, self.pod):
            await self._pause(_FAULT_POLL_SECONDS)

    async def _wait_while_stuck(self) -> None:
        while self._deleted.is_set() and self._node.rules.find("stuck_terminating", self.pod):  # noqa: ASYNC110 - rules are data
            await asyncio.sleep(_FAULT_POLL_SECONDS)

    async def _end(self) -> None:
        """Ends a deleted pod's containers, once no fault keeps them running."""
        while (rule := self._node.rules.find("stuck_terminating", self.pod)) and rule.keep_running:  # noqa: ASYNC110 - as above
            await asyncio.sleep(_FAULT_POLL_SECONDS)
        self.terminate(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        if self._stopping.is_set():
            raise _Stopped
