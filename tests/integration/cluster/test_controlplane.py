"""The control plane is what it says it is, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tests.cluster.controlplane import Cluster, RequestError
from tests.cluster.fixtures import RunningCluster
from tests.cluster.jsonlines import read_json_lines
from tests.cluster.processes import PortTakenError
from tests.integration.cluster.jobs import create, job, wait_for

CHECKOUT = Path(__file__).parents[3]
HOLDER = """
import json, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
from pathlib import Path
from tests.cluster.controlplane import Cluster
from tests.cluster.nodeprocess import NodeProcess
from tests.cluster.s3 import S3Server
with Cluster() as cluster, NodeProcess(cluster) as node, S3Server() as s3:
    print(json.dumps({"folder": str(cluster.folder), "s3": str(s3.folder)}), flush=True)
    time.sleep(60)
"""


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found, left = set(), [pid]
    while left:
        one = left.pop()
        children = {child for child, parent in parents.items() if parent == one}
        found |= children
        left += children
    return found


def alive(pids: set[int]) -> set[int]:
    found = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.add(pid)
    return found


def test_a_cluster_in_a_with_block_leaves_no_process_however_it_ends() -> None:
    holders = {
        number: subprocess.Popen([sys.executable, "-c", HOLDER], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)  # Ctrl-C; an orderly end; no chance to react
    }
    for number, holder in holders.items():
        with holder:
            assert holder.stdout is not None
            told = json.loads(holder.stdout.readline())
            below = descendants(holder.pid)
            assert len(below) >= 6, "etcd, apiserver, controller manager, scheduler, S3, agent and its zygote"
            holder.send_signal(number)
            holder.wait(30)
            wait_for(f"end of all processes after {number.name}", partial(lambda pids: not alive(pids), below))
        left = [folder for folder in told.values() if Path(folder).exists()]
        if number is signal.SIGKILL:
            for folder in left:
                shutil.rmtree(folder)
        else:
            assert left == []


def test_a_restricted_namespace_refuses_a_pod_that_is_not(cluster: RunningCluster, namespace: str) -> None:
    manifest = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    with pytest.raises(RequestError, match="violates PodSecurity") as refused:
        cluster.api.request("POST", f"/api/v1/namespaces/{namespace}/pods", manifest)
    assert refused.value.code == 403


def test_a_service_account_has_the_rights_that_rbac_gives_it(cluster: RunningCluster, namespace: str) -> None:
    config = cluster.api.kubeconfig_for(namespace, "default")
    token = json.loads(config.read_text())["users"][0]["user"]["token"]
    path = f"/api/v1/namespaces/{namespace}/pods"
    with pytest.raises(RequestError, match=f"system:serviceaccount:{namespace}:default"):
        cluster.api.request("GET", path, token=token)
    group = "/apis/rbac.authorization.k8s.io/v1"
    role = {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}
    cluster.api.request("POST", f"{group}/namespaces/{namespace}/roles", role)
    binding = {
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    cluster.api.request("POST", f"{group}/namespaces/{namespace}/rolebindings", binding)

    def allowed() -> bool:
        try:
            return bool(cluster.api.request("GET", path, token=token)["items"] == [])
        except RequestError:
            return False  # the authorizer learns of the binding a moment later

    wait_for("right to list", allowed)


def test_every_write_is_in_the_audit_log_once(cluster: RunningCluster, namespace: str) -> None:
    create(cluster.api, namespace, job("audited", ["true"]))
    mine = [
        entry
        for entry in read_json_lines(cluster.api.audit_log)
        if entry["verb"] == "create"
        and entry.get("objectRef", {}).get("resource") == "jobs"
        and entry["objectRef"].get("namespace") == namespace
    ]
    assert [(entry["stage"], entry["user"]["username"]) for entry in mine] == [("ResponseComplete", "admin")]


def test_the_node_may_not_read_what_its_pods_do_not_refer_to(cluster: RunningCluster, namespace: str) -> None:
    cluster.api.request("POST", f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "private"}})
    config = json.loads(cluster.api.kubeconfig_of("node").read_text())
    token = config["users"][0]["user"]["token"]
    with pytest.raises(RequestError, match="no relationship found"):
        cluster.api.request("GET", f"/api/v1/namespaces/{namespace}/secrets/private", token=token)


def test_an_occupied_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortTakenError, match="taken by another program"), Cluster(port=taken.getsockname()[1]):
            pass


def test_a_background_cluster_survives_its_starter_and_goes_down(tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        command = [sys.executable, "-m", "tests.cluster", *arguments, "--dir", str(tmp_path)]
        return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout

    first = call("up", "--no-node")
    try:
        assert f"export KUBECONFIG={tmp_path}/admin.kubeconfig" in first
        assert call("up", "--no-node") == first == call("env")
        assert Cluster(tmp_path).attach()
        pids = {json.loads(path.read_text())["pid"] for path in tmp_path.rglob("*.pid.json")}
        assert len(pids) == 5
    finally:
        call("down")
    assert not alive(pids)
    assert (tmp_path / "etcd").is_dir(), "the state stays"


def test_the_s3_server_keeps_what_was_put_first(cluster: RunningCluster) -> None:
    assert cluster.s3.create_bucket("runs") == cluster.s3.create_bucket("runs") == "runs"
