"""A pod's files on the node: volumes, logs, termination messages, and the binds that put them into its containers."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.podspec import Spec, Volume, VolumeMount, cpu_limit
from tests.cluster.podspec import mounts as mounts_of
from tests.cluster.sandbox import Bind, Sandbox

TERMINATION_MESSAGE_PATH = "/dev/termination-log"
_MESSAGE_BYTES = 4096
_FALLBACK_BYTES = 2048
_FALLBACK_LINES = 80
_UNNAMED_USER = 65532  # runAsNonRoot without runAsUser: what a distroless image would say
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nllm2llm:x:65532:65532::/scratch:/usr/sbin/nologin\n"
_GROUP = "root:x:0:\nllm2llm:x:65532:\n"
"""The users and groups that our images know; another UID has no entry, as in them."""


class PodFolder:
    """`<node>/pods/<namespace>_<pod>_<uid>/`, and the claims' folders beside it."""

    def __init__(self, node: Path, pod: Spec) -> None:
        meta = pod["metadata"]
        self.path = node / "pods" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
        self._claims = node / "claims" / meta["namespace"]
        self._root = node / "root"
        self._pod = pod
        self._sources: dict[str, Path] = {}
        self._volumes: list[Volume] = []

    def log(self, container: str) -> Path:
        return self.path / f"{container}.log"

    def make(self, volumes: Iterable[Volume]) -> None:
        """Makes the volumes' folders and files."""
        self._volumes = list(volumes)
        for volume in self._volumes:
            source = self.path / "volumes" / volume.name
            if volume.kind == "claim":
                source = self._claims / volume.source
            elif volume.kind == "host":
                source = Path(volume.source)
            if volume.kind != "host":
                source.mkdir(parents=True, exist_ok=True)
                source.chmod(0o777)
            for file in volume.files:
                path = source / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(file.data)
                path.chmod(file.mode)
            self._sources[volume.name] = source

    def view(self, container: Spec, pod_ip: str) -> Sandbox:
        """What the container shall see of the machine."""
        name = container["name"]
        self._root.mkdir(parents=True, exist_ok=True)
        message = self._message_file(name)
        message.write_bytes(b"")
        message.chmod(0o666)
        hostname = self._pod["spec"].get("hostname") or self._pod["metadata"]["name"]
        hosts = f"127.0.0.1\tlocalhost\n::1\tlocalhost\n{pod_ip}\t{hostname[:63]}\n"
        binds = [self._bind(mount) for mount in mounts_of(container, self._volumes)]
        taken = {bind.target for bind in binds}
        binds.append(Bind(str(message), container.get("terminationMessagePath") or TERMINATION_MESSAGE_PATH, False))
        for target, text in {"/etc/hosts": hosts, "/etc/passwd": _PASSWD, "/etc/group": _GROUP}.items():
            if target not in taken and Path(target).exists():
                file = self.path / target.strip("/").replace("/", "-")
                file.write_text(text)
                binds.append(Bind(str(file), target, True))
        security = {**self._pod["spec"].get("securityContext", {}), **container.get("securityContext", {})}
        uid = security.get("runAsUser", _UNNAMED_USER if security.get("runAsNonRoot") else None)
        return Sandbox(
            root=str(self._root),
            binds=tuple(binds),
            workdir=container.get("workingDir") or "/",
            hostname=hostname,
            uid=uid or None,
            gid=security.get("runAsGroup"),
            read_only_root=security.get("readOnlyRootFilesystem", False),
            no_new_privileges=security.get("allowPrivilegeEscalation") is False,
            cpus=cpu_limit(container),
        )

    def termination_message(self, container: Spec, exit_code: int) -> str:
        """What the container left as its last words, in the kubelet's limits."""
        path = self._message_file(container["name"])
        data = path.read_bytes()[:_MESSAGE_BYTES] if path.exists() else b""
        log = self.log(container["name"])
        falls_back = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not data and exit_code != 0 and falls_back and log.exists():
            lines = _tail(log, _FALLBACK_BYTES).splitlines(keepends=True)
            data = b"".join(lines[-_FALLBACK_LINES:])
        return data.decode(errors="replace")

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _message_file(self, container: str) -> Path:
        folder = self.path / "termination"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / container

    def _bind(self, mount: VolumeMount) -> Bind:
        source = self._sources[mount.volume]
        if mount.sub_path:
            source /= mount.sub_path
            if not source.exists():
                source.mkdir(parents=True)
        return Bind(str(source), mount.path, mount.read_only)


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()
