"""One node with a real kubelet, containerd and runc, in namespaces of its own.

Everything here runs inside the network, mount and process namespaces that `python -m tests.realnode` makes, so that no
device, port or mount of the machine is touched, and all of it ends with the first process in them. Pods have addresses
on a bridge; the API server listens on the address of the service `kubernetes`, which is on that bridge, too, so that
pods reach it without kube-proxy. containerd's images stay in the cache from run to run.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.cluster.credentials import NODE_NAME
from tests.cluster.processes import Child, spawn, stop, wait_until
from tests.realnode import images

ADDRESS, PODS, SERVICE = "10.77.0.1", "10.77.0.0/24", "10.96.0.1"
BRIDGE, BRIDGE_MAC = "realnode0", "02:77:00:00:00:01"
"""A bridge without an address of its own takes the lowest of its ports: pods lost the API server as others came."""
SYSCTLS = (
    "vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops", "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
)  # fmt: skip
"""What the kubelet sets for the whole machine; it is put back."""


class RealNode:
    """The node of a cluster.

    Attributes:
        folder: containerd's configuration and the logs.
    """

    def __init__(self, cluster: Cluster, folder: Path, gpus: int = 4) -> None:
        self._cluster = cluster
        self.folder = folder
        self._gpus = gpus
        self._children: list[Child] = []
        self._sysctls: dict[str, str] = {}

    def __enter__(self) -> RealNode:
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

    def start(self) -> None:
        """Starts containerd and the kubelet, and waits until the node is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sysctls = {name: _run("sysctl", "-n", name).strip() for name in SYSCTLS}
        pause = images.build_pause(binaries.pause())
        for path, text in _configuration(self.folder, pause).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        containerd = self._spawn("containerd", ["containerd", "--config", str(self.folder / "containerd.toml")])
        wait_until("containerd", lambda: self._ctr("version", check=False) != "", [containerd])
        self.load(pause)
        command = [
            str(binaries.kubelet()),
            f"--config={self.folder / 'kubelet.json'}",
            f"--kubeconfig={self._cluster.kubeconfig_of('node')}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet/pki'}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={ADDRESS}",
        ]
        kubelet = self._spawn("kubelet", command)
        node = f"/api/v1/nodes/{NODE_NAME}"
        wait_until("the node", lambda: self._cluster.kubectl("get", "node", NODE_NAME, check=False) != "", [kubelet])
        resources = {"nvidia.com/gpu": str(self._gpus)}
        body = {"status": {"capacity": resources, "allocatable": resources}}
        self._cluster.request("PATCH", f"{node}/status", body, content_type="application/merge-patch+json")
        self._cluster.kubectl("wait", "--for=condition=Ready", f"node/{NODE_NAME}", "--timeout=60s")

    def stop(self) -> None:
        """Ends kubelet, containers and containerd, and unmounts what they mounted."""
        for child in [one for one in self._children if one.name == "kubelet"]:
            stop([child])
        with contextlib.suppress(RuntimeError, OSError):
            for task in self._ctr("tasks", "ls", "--quiet").split():
                self._ctr("tasks", "kill", "--signal", "9", task, check=False)
            for container in self._ctr("containers", "ls", "--quiet").split():
                self._ctr("tasks", "rm", "--force", container, check=False)
                self._ctr("containers", "rm", container, check=False)
        stop([one for one in self._children if one.name != "kubelet"])
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((path for path in mounts if path.startswith(str(self.folder))), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        for root in Path("/sys/fs/cgroup").glob("**/kubepods"):
            for path in sorted(root.rglob("*"), reverse=True):
                if path.is_dir():
                    with contextlib.suppress(OSError):
                        path.rmdir()
            with contextlib.suppress(OSError):
                root.rmdir()
        for name, value in self._sysctls.items():
            subprocess.run(["sysctl", "-q", "-w", f"{name}={value}"], check=False)

    def load(self, *names: str) -> None:
        """Gives containerd images by their names, unless it has them."""
        have = set(self._ctr("images", "ls", "--quiet").split())
        for name in names:
            marker = images.folder() / "containerd" / f"loaded-{images.identity(name)}"
            if name not in have or not marker.exists():
                with images.archived(name) as path:
                    self._ctr("images", "import", str(path))
                marker.touch()

    def log(self, name: str) -> str:
        """What `kubelet` or `containerd` logged last."""
        return next(child.log_tail(20_000) for child in self._children if child.name == name)

    def _ctr(self, *arguments: str, check: bool = True) -> str:
        return _run("ctr", "--address", str(self.folder / "containerd.sock"), "--namespace", "k8s.io", *arguments, check=check)  # fmt: skip

    def _spawn(self, name: str, command: list[str]) -> Child:
        child = spawn(name, command, folder=self.folder)
        self._children.append(child)
        return child


def make_network() -> None:
    """Makes the bridge with the addresses of the node and of the service `kubernetes`."""
    for command in (
        "link set lo up",
        f"link add {BRIDGE} address {BRIDGE_MAC} type bridge",
        f"addr add {ADDRESS}/24 dev {BRIDGE}",
        f"addr add {SERVICE}/32 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ):
        _run("ip", *command.split())


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[tuple[Cluster, RealNode]]:
    """A control plane and its node."""
    shutil.rmtree(folder, ignore_errors=True)
    with Cluster(folder / "cluster", port=443, bind="0.0.0.0") as cluster, RealNode(cluster, folder / "node") as node:
        yield cluster, node


def _configuration(folder: Path, pause: str) -> dict[Path, str]:
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "ipam": {
            "type": "host-local",
            "dataDir": str(folder / "ipam"),
            "ranges": [[{"subnet": PODS, "rangeStart": "10.77.0.10", "gateway": ADDRESS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    socket = folder / "containerd.sock"
    containerd = f"""version = 2
root = "{images.folder()}/containerd"
state = "{folder}/containerd"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
netns_mounts_under_state_dir = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{socket}",
        # nobody else is in these namespaces
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "podLogsDir": str(folder / "podlogs"),
        "volumePluginDir": str(folder / "volumeplugins"),
        "makeIPTablesUtilChains": False,
        "imageGCHighThresholdPercent": 100,
        # none of disks: where an image has no room, its import says so, and no other image is deleted for it
        "evictionHard": {"memory.available": "100Mi"},
        "clusterDNS": [ADDRESS],
        # the controllers notice a lost node after 8 s
        "nodeLeaseDurationSeconds": 4,
        "nodeStatusUpdateFrequency": "5s",
        "serializeImagePulls": False,
    }
    return {
        folder / "cni" / "10-bridge.conflist": json.dumps(
            {"cniVersion": "0.4.0", "name": "realnode", "plugins": [bridge]}
        ),
        folder / "containerd.toml": containerd,
        folder / "kubelet.json": json.dumps(kubelet),
    }


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed with exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else ""
