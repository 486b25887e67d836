"""The control plane: etcd, API server, controller manager and scheduler on loopback, each a process of its own.

Everything is real but the machine under it: RBAC, the Node authorizer, NodeRestriction, PodSecurity and ServiceAccount
admission are on, requests are audited, TLS is verified. `KubeClient` is a context manager for tests; with `detached=True`
the processes outlive the caller, which is what `python -m tests.cluster up` uses.
"""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from tests.cluster import binaries, credentials, parts
from tests.cluster.processes import (
    Child,
    PortTakenError,
    StartError,
    free_port,
    listens,
    recorded,
    require_free,
    spawn,
    stop,
    wait_until,
)

# In the order in which they are stopped: the store last.
PARTS = ("scheduler", "controller-manager", "apiserver", "etcd")
_ATTEMPTS = 5  # a port found free may be taken before its process binds it


class RequestError(RuntimeError):
    """The API server refused a request; `code` is the HTTP status, the message its words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Cluster:
    """A control plane in one folder.

    Attributes:
        folder: keys, kubeconfigs, logs and etcd's data; a temporary one is removed at the end.
        server: the API server's URL.
        kubeconfig: the administrator's kubeconfig.
        audit_log: the API server's audit log, one JSON object a line.
    """

    def __init__(
        self, folder: Path | None = None, *, port: int | None = None, detached: bool = False, bind: str = "127.0.0.1"
    ) -> None:
        """Prepares a cluster; `start()` or `with` starts it.

        Args:
            folder: where it lives; None makes a temporary folder.
            port: the API server's port; None picks a free one.
            detached: its processes outlive this one.
            bind: the address that the API server binds; whatever it is, `server` is on loopback.
        """
        self._bind = bind
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="llm2llm-cluster-")) if folder is None else folder.absolute()
        self._wanted_port = port
        self._detached = detached
        self.children: dict[str, Child] = {}
        self._restore_sigterm: Any = None
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self.audit_log = self.folder / parts.AUDIT_LOG
        self.authority = self.folder / parts.AUTHORITY
        self.server = ""

    def __enter__(self) -> Cluster:
        self._restore_sigterm = _exit_on_sigterm()
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            if self._restore_sigterm is not None:
                signal.signal(signal.SIGTERM, self._restore_sigterm)

    def start(self) -> None:
        """Starts whatever does not run yet, and waits until the cluster is of use (about 4 s)."""
        binary = str(binaries.control_plane())
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.attach():
            return
        self._stop_recorded()  # the rest of one that half runs
        self._write_files()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._start_servers(binary)
                break
            except PortTakenError:
                stop(self._running())
                if self._wanted_port is not None or attempt == _ATTEMPTS:
                    raise
        self._start_controllers(binary)
        (self.folder / "cluster.json").write_text(json.dumps({"server": self.server}))

    def evict(self, namespace: str, pod: str) -> None:
        """Evicts a pod by the Eviction API, as `kubectl drain` does: DisruptionTarget with EvictionByEvictionAPI."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        self.request("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", body)

    def attach(self) -> bool:
        """Takes over a cluster that already runs in the folder; False when there is none, or only a part of one."""
        found = {part: child for part in PARTS if (child := recorded(part, self.folder)) is not None}
        state = self.folder / "cluster.json"
        if len(found) < len(PARTS) or not state.exists():
            return False
        self.children = found
        self.server = json.loads(state.read_text())["server"]
        return True

    def stop(self) -> None:
        """Ends its own processes, and removes a temporary folder."""
        self._stop_recorded()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def running(self) -> bool:
        """Whether all of its processes run."""
        return len(self.children) == len(PARTS) and all(child.alive() for child in self.children.values())

    def request(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", token: str = ""
    ) -> Any:
        """One request to the API server as administrator, for tests that need no client library.

        Returns:
            The decoded JSON, or the text where the answer is not JSON.

        Raises:
            RequestError: the answer was not a success.
        """
        data = None if body is None else json.dumps(body).encode()
        bearer = token or credentials.read_token(self.folder / parts.TOKENS, "admin")
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": content_type}
        request = urllib.request.Request(self.server + path, data=data, method=method, headers=headers)
        context = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as response:
                text = response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                raise RequestError(error.code, error.read().decode()) from None
        return json.loads(text) if text.startswith(("{", "[")) else text

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs kubectl as administrator and returns what it printed on stdout.

        Raises:
            RuntimeError: it failed, and `check` is on; the message holds its stderr.
        """
        command = [str(binaries.kubectl()), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(arguments)} failed ({done.returncode}): {done.stderr.strip()}")
        return done.stdout

    def kubeconfig_for(self, namespace: str, service_account: str, *, lifetime_seconds: int = 86400) -> Path:
        """A kubeconfig that speaks as a service account, by a token of the TokenRequest API."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        answer = self.request("POST", path, {"spec": {"expirationSeconds": lifetime_seconds}})
        return credentials.write_kubeconfig(
            self.folder / f"{namespace}.{service_account}.kubeconfig",
            server=self.server,
            authority=self.authority,
            token=answer["status"]["token"],
            namespace=namespace,
        )

    def create_namespace(self, name: str, *, pod_security: str | None = "restricted") -> None:
        """Creates a namespace and waits until pods can be created in it."""
        labels = {} if pod_security is None else {"pod-security.kubernetes.io/enforce": pod_security}
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        self._wait_for_namespace(name)

    def _stop_recorded(self) -> None:
        for part in PARTS:
            if part not in self.children and (child := recorded(part, self.folder)) is not None:
                self.children[part] = child
        stop(self._running())
        self.children = {}
        (self.folder / "cluster.json").unlink(missing_ok=True)

    def _write_files(self) -> None:
        if not (self.folder / parts.TOKENS).exists():
            credentials.write_key(self.folder / parts.SIGNING_KEY)
            credentials.write_tokens(self.folder / parts.TOKENS)
        (self.folder / parts.AUDIT_POLICY_FILE).write_text(json.dumps(parts.AUDIT_POLICY))

    def _start_servers(self, binary: str) -> None:
        folder = self.folder
        clients, peers = free_port(), free_port()
        port = free_port() if self._wanted_port is None else require_free(self._wanted_port)
        self.server = f"https://127.0.0.1:{port}"
        etcd = self._spawn("etcd", [binary, *parts.etcd(folder, clients, peers)])
        apiserver = self._spawn("apiserver", [binary, *parts.apiserver(folder, port, clients, self._bind)])
        both = (etcd, apiserver)
        wait_until("etcd's port", lambda: listens(etcd, clients), both)
        wait_until("the API server's port", lambda: listens(apiserver, port), both)
        wait_until("a ready API server", self._ready, both)
        token = credentials.read_token(folder / parts.TOKENS, "admin")
        credentials.write_kubeconfig(self.kubeconfig, server=self.server, authority=self.authority, token=token)

    def _start_controllers(self, binary: str) -> None:
        for name, arguments in (
            ("controller-manager", parts.controller_manager(self.folder, self.kubeconfig_of("controller-manager"))),
            ("scheduler", parts.scheduler(self.kubeconfig_of("scheduler"))),
        ):
            self._spawn(name, [binary, *arguments])
        self._wait_for_namespace("default")

    def kubeconfig_of(self, user: str) -> Path:
        """The kubeconfig of one of the cluster's own parts (`credentials.USERS`)."""
        token = credentials.read_token(self.folder / parts.TOKENS, user)
        path = self.folder / f"{user}.kubeconfig"
        return credentials.write_kubeconfig(path, server=self.server, authority=self.authority, token=token)

    def _wait_for_namespace(self, name: str) -> None:
        paths = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")
        for path in paths:
            wait_until(
                f"{path} in namespace {name}",
                lambda path=path: self._exists(f"/api/v1/namespaces/{name}/{path}"),  # type: ignore[misc]
                self.children.values(),
            )

    def _exists(self, path: str) -> bool:
        try:
            self.request("GET", path)
        except RequestError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _ready(self) -> bool:
        try:
            return bool(self.request("GET", "/readyz") == "ok")
        except (RequestError, OSError):  # refused connections and TLS errors are OSErrors
            return False

    def _spawn(self, name: str, command: list[str]) -> Child:
        child = spawn(name, command, folder=self.folder, detached=self._detached)
        self.children[name] = child
        return child

    def _running(self) -> list[Child]:
        return [self.children[part] for part in PARTS if part in self.children]


def _exit_on_sigterm() -> Any:
    """Makes SIGTERM unwind the stack, so that `with` blocks end; returns what to restore, None when not ours to set."""
    if threading.current_thread() is not threading.main_thread():
        return None
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return None

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    return signal.signal(signal.SIGTERM, leave)


__all__ = ["PARTS", "Cluster", "RequestError", "StartError"]
