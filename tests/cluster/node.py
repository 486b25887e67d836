"""The node agent: stands in for a kubelet, and runs each pod's commands as processes of this machine.

    python -m tests.cluster.node --kubeconfig FILE --admin-kubeconfig FILE --dir FOLDER [--zygote MODULES --zygote-command NAME=MODULE:FUNCTION]

It speaks as `system:node:node-0`, so the Node authorizer and NodeRestriction hold for it as for a real kubelet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.cluster import heartbeat
from tests.cluster.apiclient import ApiClient, ApiError
from tests.cluster.claims import provision
from tests.cluster.credentials import NODE_NAME
from tests.cluster.faultrules import Rules
from tests.cluster.faults import CONTROL_FILE, FaultServer
from tests.cluster.kubeletapi import KubeletApi, serving_tls
from tests.cluster.launcher import Launcher, LauncherError, probe
from tests.cluster.podspec import Spec
from tests.cluster.podworker import Node, PodWorker

_log = logging.getLogger(__name__)
_PODS = "/api/v1/pods"
_ON_THIS_NODE = {"fieldSelector": f"spec.nodeName={NODE_NAME}"}
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GONE = 410


class NodeAgent:
    """All pods of the node, by uid."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._addresses = 0

    def workers(self) -> list[PodWorker]:
        """The pods, the oldest first."""
        return list(self._workers.values())

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """A pod by its name; of several that had it, the newest."""
        for worker in reversed(self._workers.values()):
            meta = worker.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name):
                return worker
        return None

    async def follow(self) -> None:
        """Lists and watches this node's pods for ever."""
        while True:
            listed = await self._node.api.request("GET", _PODS, params=_ON_THIS_NODE)
            present = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
            for uid in set(self._workers) - set(present):
                self._forget(uid)
            for pod in present.values():
                self._take(pod)
            version = listed["metadata"]["resourceVersion"]
            while version:
                version = await self._watch(version)

    def close(self) -> None:
        """Stops writing about pods: what still runs will be found lost by the next agent."""
        for task in self._tasks.values():
            task.cancel()

    async def _watch(self, version: str) -> str:
        """Follows one watch to its end; returns the version to go on from, empty when a new list is needed."""
        try:
            async for event in self._node.api.watch(_PODS, version, _ON_THIS_NODE):
                pod = event["object"]
                version = pod["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._forget(pod["metadata"]["uid"])
                elif event["type"] != "BOOKMARK":
                    self._take(pod)
        except ApiError as error:
            if error.code == _GONE:
                return ""
            _log.warning("the watch of pods ended: %s", error)
            await asyncio.sleep(0.5)
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.info("the watch of pods broke: %s", error)
            await asyncio.sleep(0.2)
        return version

    def _take(self, pod: Spec) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is None:
            self._addresses += 1
            # Every address of 127.0.0.0/8 is this machine's; one for each pod, as the API promises.
            address = f"127.{1 + (self._addresses >> 16) % 250}.{self._addresses >> 8 & 255}.{self._addresses & 255}"
            worker = self._workers[uid] = PodWorker(self._node, pod, address)
            task = self._tasks[uid] = asyncio.create_task(worker.run())
            task.add_done_callback(lambda done: _report(done, pod))
        worker.updated(pod)

    def _forget(self, uid: str) -> None:
        worker = self._workers.pop(uid, None)
        if worker is None:
            return
        worker.vanished()
        self._tasks.pop(uid).cancel()
        worker.folder.remove()


def _report(task: asyncio.Task[None], pod: Spec) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("pod %s: the agent failed", pod["metadata"]["name"], exc_info=error)


async def serve(options: argparse.Namespace) -> None:
    """Runs the agent until SIGTERM or SIGINT."""
    folder = options.dir.absolute()
    probe(folder)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    image_env = _image_env(options.image_env)
    plain = Launcher("containers", folder, image_env, [], [])
    launchers = [plain]
    if options.zygote_command:
        modules = [name for name in options.zygote.split(",") if name]
        launchers.append(Launcher("zygote", folder, image_env, modules, options.zygote_command))

    def launcher_for(program: str) -> Launcher:
        return next((one for one in launchers if Path(program).name in one.serves), plain)

    rules = Rules()
    async with ApiClient(options.kubeconfig) as api, ApiClient(options.admin_kubeconfig) as admin:
        server = urllib.parse.urlsplit(api.server)
        services = {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
        node = Node(
            NODE_NAME, api, folder, heartbeat.HOST_IP, heartbeat.ALLOCATABLE, image_env, services, rules, launcher_for
        )
        agent = NodeAgent(node)
        runners: list[web.AppRunner] = []
        background: list[asyncio.Task[Any]] = []
        try:
            await asyncio.gather(*[launcher.start() for launcher in launchers])
            faults = FaultServer(rules, api, agent.workers)
            control = await _listen(faults.routes(), runners)
            logs = await _listen(KubeletApi(agent.find).routes(), runners, tls_folder=folder)
            main, other = heartbeat.worker(logs), heartbeat.control_plane()
            await heartbeat.register(admin, other)
            await heartbeat.register(api, main)
            tasks = (agent.follow(), heartbeat.beat(api, main), heartbeat.beat(admin, other), provision(admin, folder))
            background = [asyncio.create_task(task) for task in tasks]
            background += [asyncio.create_task(launcher.watch()) for launcher in launchers]
            background.append(asyncio.create_task(stopped.wait()))
            _write_control(folder, control)
            ended, _ = await asyncio.wait(background, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            (folder / CONTROL_FILE).unlink(missing_ok=True)
            agent.close()
            for task in background:
                task.cancel()
            for launcher in launchers:
                await launcher.stop()
            for runner in runners:
                await runner.cleanup()


async def _listen(routes: list[web.RouteDef], runners: list[web.AppRunner], tls_folder: Path | None = None) -> int:
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    runners.append(runner)
    await runner.setup()
    tls = None if tls_folder is None else serving_tls(tls_folder)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    return int(runner.addresses[0][1])


def _image_env(given: list[str]) -> Mapping[str, str]:
    """What an image would set. Nothing of the agent's own environment reaches a container."""
    env = {
        "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "HOME": "/",  # what a container runtime sets for a user without a home
    }
    return env | dict(text.split("=", 1) for text in given)


def _write_control(folder: Path, port: int) -> None:
    """Tells where the control endpoint is; in place only when complete, since its appearance means "ready"."""
    partial = folder / f".{CONTROL_FILE}"
    partial.write_text(json.dumps({"url": f"http://127.0.0.1:{port}", "pid": os.getpid()}))
    partial.rename(folder / CONTROL_FILE)


def main(argv: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.node", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="of user system:node:node-0")
    parser.add_argument("--admin-kubeconfig", type=Path, required=True, help="makes claims' volumes and a second node")
    parser.add_argument("--dir", type=Path, required=True, help="the node's folder")
    parser.add_argument("--image-env", action="append", default=[], metavar="NAME=VALUE", help="set in every container")
    parser.add_argument("--zygote", default="", metavar="MODULE,...", help="modules to import once")
    parser.add_argument("--zygote-command", action="append", default=[], metavar="NAME=MODULE:FUNCTION")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(options))
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
