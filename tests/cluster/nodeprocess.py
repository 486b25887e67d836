"""Starting and stopping the node agent, as a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.cluster.controlplane import Cluster
from tests.cluster.credentials import NODE_NAME
from tests.cluster.faults import CONTROL_FILE, NodeFaults
from tests.cluster.processes import Child, StartError, recorded, spawn, stop, wait_until

# What the data plane's steps import, each for itself or by the way; the agent forks them from a process that has done
# so once. torch, transformers and peft take six seconds of CPU; the rest, which transformers loads when it is first
# used and the stages when they run, two more in every step.
ZYGOTE_MODULES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "boto3",
    "matplotlib.backends.backend_svg",
    "transformers.models.llama.modeling_llama",
    "llm2llm.cli.run",
    "llm2llm.engines.transformers",
    "llm2llm.local.runner",
    "llm2llm.stages.evaluate",
    "llm2llm.stages.generate",
    "llm2llm.stages.prepare",
    "llm2llm.stages.test",
    "llm2llm.stages.train",
    "llm2llm.training.launch",
)
ZYGOTE_COMMANDS = ("llm2llm=llm2llm.cli.main:main",)


class NodeProcess:
    """The agent of a cluster's one node, `node-0`.

    Attributes:
        folder: the node's folder: logs of pods, claims' data, its own log.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        zygote_modules: Sequence[str] = (),
        zygote_commands: Sequence[str] = (),
        image_env: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> None:
        """Prepares the agent; `start()` or `with` starts it.

        Args:
            cluster: a running cluster.
            zygote_modules: what the zygote imports once.
            zygote_commands: `name=module:function`; containers whose command has that name are forked from the zygote.
            image_env: variables that every container finds, as if its image had set them.
            detached: it outlives this process.
        """
        self.folder = cluster.folder / "node"
        self._cluster = cluster
        self._detached = detached
        self._arguments = [f"--image-env={name}={value}" for name, value in (image_env or {}).items()]
        if zygote_commands:
            self._arguments += [f"--zygote={','.join(zygote_modules)}"]
            self._arguments += [f"--zygote-command={command}" for command in zygote_commands]
        self._child: Child | None = None

    def __enter__(self) -> NodeProcess:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def faults(self) -> NodeFaults:
        """Faults on request, of the agent that runs now."""
        return NodeFaults(self.folder)

    @property
    def pid(self) -> int | None:
        """The agent's process, None when it was not started."""
        return None if self._child is None else self._child.pid

    def check(self) -> None:
        """Raises StartError, with the end of its log, when the agent has ended by itself."""
        if self._child is not None and not self._child.alive():
            raise StartError(f"the node agent has ended:\n{self._child.log_tail()}")

    def start(self) -> None:
        """Starts the agent unless it runs, and waits until pods can be scheduled to the node."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._child = recorded("agent", self.folder)
        if self._child is None:
            self._start()
        child = self._child
        assert child is not None
        wait_until("the node agent", (self.folder / CONTROL_FILE).exists, [child])
        wait_until("a schedulable node", self._schedulable, [child])

    def stop(self) -> None:
        """Ends the agent, and with it every container that runs."""
        child = self._child or recorded("agent", self.folder)
        if child is not None:
            stop([child])
        self._child = None

    def _start(self) -> None:
        (self.folder / CONTROL_FILE).unlink(missing_ok=True)
        users = {"--kubeconfig": "node", "--admin-kubeconfig": "provisioner"}
        configs = [f"{option}={self._cluster.kubeconfig_of(user)}" for option, user in users.items()]
        command = [sys.executable, "-m", "tests.cluster.node", *configs, f"--dir={self.folder}", *self._arguments]
        checkout = Path(__file__).parents[2]
        self._child = spawn(
            "agent", command, folder=self.folder, cwd=checkout, env=dict(os.environ), detached=self._detached
        )

    def _schedulable(self) -> bool:
        node = self._cluster.request("GET", f"/api/v1/nodes/{NODE_NAME}")
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", []))
        return ready and not node["spec"].get("taints")


def start_node(
    cluster: Cluster, *, zygote: bool = False, image_env: Mapping[str, str] | None = None, detached: bool = False
) -> NodeProcess:
    """Starts the node agent; with `zygote`, steps of the data plane start from a process that has imported torch."""
    modules, commands = (ZYGOTE_MODULES, ZYGOTE_COMMANDS) if zygote else ((), ())
    node = NodeProcess(
        cluster, zygote_modules=modules, zygote_commands=commands, image_env=image_env, detached=detached
    )
    try:
        node.start()
    except BaseException:
        node.stop()
        raise
    return node
