"""What a container finds, and what the node tells about it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster
from tests.cluster.fixtures import IMAGE_ENV_VARIABLE, RunningCluster
from tests.integration.cluster.jobs import (
    condition,
    container_state,
    create,
    ended,
    events,
    finished,
    job,
    outcome,
    pod_where,
    pods,
    running,
    terminated,
    wait_for,
    waiting,
)

KEEP = "llm2llm.dev/test"
# Writes what it sees as its last words, so that a test reads one JSON document.
PROBE = """
import grp, json, os, pathlib, pwd
def writable(path):
    try:
        pathlib.Path(path, "probe").write_text("x")
    except OSError as error:
        return error.strerror
    return True
seen = {
    "env": dict(os.environ),
    "uid": os.getuid(),
    "hosts": pathlib.Path("/etc/hosts").read_text(),
    "names": [pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name, len(pwd.getpwall())],
    "pid": os.getpid(),
    "cwd": os.getcwd(),
    "host": os.uname().nodename,
    "key": pathlib.Path("/etc/llm2llm/keys/api-key").read_text(),
    "mode": oct(pathlib.Path("/etc/llm2llm/keys/api-key").stat().st_mode & 0o777),
    "writable": {path: writable(path) for path in ("/scratch", "/etc/llm2llm/keys", "/tmp", "/", "/var/run/state", "/models")},
}
pathlib.Path("/dev/termination-log").write_text(json.dumps(seen))
raise SystemExit(3)
"""


@contextmanager
def kept(api: Cluster, namespace: str, name: str) -> Iterator[str]:
    """Keeps a pod's object by a finalizer, so that its end can be read; yields its path."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"

    def finalizers() -> list[str]:
        return list(api.request("GET", path)["metadata"].get("finalizers", []))

    def patch(names: list[str]) -> None:
        api.request("PATCH", path, {"metadata": {"finalizers": names}}, content_type="application/merge-patch+json")

    patch([*finalizers(), KEEP])
    yield path
    patch([name for name in finalizers() if name != KEEP])


def secret(cluster: RunningCluster, namespace: str, name: str, **data: str) -> None:
    cluster.api.request(
        "POST", f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": name}, "stringData": data}
    )


def config_map(cluster: RunningCluster, namespace: str, name: str, **data: str) -> None:
    cluster.api.request(
        "POST", f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": name}, "data": data}
    )


def claim(cluster: RunningCluster, namespace: str, name: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "any"}
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    cluster.api.request("POST", path, {"metadata": {"name": name}, "spec": spec})


def test_a_restricted_job_finds_its_environment_its_volumes_and_nothing_of_the_agent(
    cluster: RunningCluster, namespace: str
) -> None:
    secret(cluster, namespace, "teacher", **{"api-key": "sesame", "other": "x"})
    config_map(cluster, namespace, "settings", region="here")
    claim(cluster, namespace, "models")
    env: list[dict[str, Any]] = [
        {"name": "LITERAL", "value": "a b"},
        {"name": "EXPANDED", "value": "$(LITERAL)-$$(LITERAL)-$(UNKNOWN)-$(region)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "teacher", "key": "api-key"}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
    ]
    container = {
        "env": env,
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "T_", "secretRef": {"name": "teacher"}}],
        "resources": {"limits": {"nvidia.com/gpu": "2", "memory": "64Mi"}},
        "workingDir": "/scratch",
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "state", "mountPath": "/var/run/state"},
            {"name": "keys", "mountPath": "/etc/llm2llm/keys", "readOnly": True},
            {"name": "models", "mountPath": "/models"},
        ],
    }
    container["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    volumes: list[dict[str, Any]] = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "state", "emptyDir": {}},
        {
            "name": "keys",
            "secret": {"secretName": "teacher", "defaultMode": 0o440, "items": [{"key": "api-key", "path": "api-key"}]},
        },
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
    ]
    create(cluster.api, namespace, job("probe", ["python", "-c", PROBE], container=container, volumes=volumes))

    pod = ended(cluster.api, namespace)
    how = terminated(pod)
    assert (how["exitCode"], how["reason"]) == (3, "Error")
    seen = json.loads(how["message"])
    got = seen["env"]
    server = cluster.api.server.rsplit(":", 1)
    assert got.pop("PATH").split(":")[0].endswith("/bin")
    got.pop("LC_CTYPE", None)  # the interpreter's own
    assert got == json.loads(os.environ.get(IMAGE_ENV_VARIABLE, "{}")) | {
        "LITERAL": "a b",
        "EXPANDED": "a b-$(LITERAL)-$(UNKNOWN)-here",
        "POD": pod["metadata"]["name"],
        "UID": pod["metadata"]["uid"],
        "LABEL": "probe",
        "NODE": "node-0",
        "KEY": "sesame",
        "CPUS": "128",
        "MEMORY": "64",
        "region": "here",
        "T_api-key": "sesame",
        "T_other": "x",
        "HOSTNAME": pod["metadata"]["name"],
        "HOME": "/",
        "LANG": "C.UTF-8",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": server[1],
    }
    assert (seen["uid"], seen["pid"], seen["cwd"], seen["host"]) == (65532, 1, "/scratch", pod["metadata"]["name"])
    assert pod["metadata"]["name"] in seen["hosts"]
    assert seen["names"] == ["llm2llm", "llm2llm", 2]  # as in our images
    assert (seen["key"], seen["mode"]) == ("sesame", "0o440")
    assert seen["writable"] == {
        "/scratch": True,
        "/var/run/state": True,
        "/models": True,
        "/etc/llm2llm/keys": "Read-only file system",
        "/tmp": "Read-only file system",
        "/": "Read-only file system",
    }


@pytest.mark.parametrize(("resources", "cpus"), [({}, len(os.sched_getaffinity(0))), ({"limits": {"cpu": "500m"}}, 1)])
def test_a_limit_of_cpus_is_what_a_container_may_run_on(
    cluster: RunningCluster, namespace: str, resources: dict[str, Any], cpus: int
) -> None:
    look = "import os, pathlib; pathlib.Path('/dev/termination-log').write_text(str(len(os.sched_getaffinity(0))))"
    create(cluster.api, namespace, job("look", ["python", "-c", look], container={"resources": resources}))
    assert finished(cluster.api, namespace, "look")["status"]["succeeded"] == 1
    [pod] = pods(cluster.api, namespace)
    assert terminated(pod)["message"] == str(cpus)


def test_a_pod_becomes_pending_running_and_succeeded_with_a_kubelets_conditions(
    cluster: RunningCluster, namespace: str
) -> None:
    create(cluster.api, namespace, job("steps", ["sh", "-c", "sleep 0.5"]))
    pod = running(cluster.api, namespace)
    assert pod["status"]["phase"] == "Running"
    assert [condition(pod, kind)["status"] for kind in ("PodScheduled", "Initialized", "Ready", "ContainersReady")] == [
        "True"
    ] * 4
    assert pod["status"]["podIP"].startswith("127.")
    assert pod["status"]["hostIP"] == "127.0.0.1"

    assert outcome(finished(cluster.api, namespace, "steps")) == "Complete"
    (pod,) = pods(cluster.api, namespace)
    assert pod["status"]["phase"] == "Succeeded"
    assert (condition(pod, "Ready")["status"], condition(pod, "Ready")["reason"]) == ("False", "PodCompleted")
    assert terminated(pod)["reason"] == "Completed"


def test_a_pod_that_asks_for_nine_gpus_stays_unschedulable(cluster: RunningCluster, namespace: str) -> None:
    create(cluster.api, namespace, job("big", ["true"], container={"resources": {"limits": {"nvidia.com/gpu": "9"}}}))
    pod = pod_where(
        cluster.api, namespace, "verdict of the scheduler", lambda pod: bool(condition(pod, "PodScheduled"))
    )
    assert (condition(pod, "PodScheduled")["status"], condition(pod, "PodScheduled")["reason"]) == (
        "False",
        "Unschedulable",
    )
    assert "Insufficient nvidia.com/gpu" in condition(pod, "PodScheduled")["message"]


def test_gpus_in_use_are_not_given_twice(cluster: RunningCluster, namespace: str) -> None:
    asks = {"resources": {"limits": {"nvidia.com/gpu": "8"}}}
    create(cluster.api, namespace, job("first", ["sh", "-c", "sleep 0.7"], container=asks))
    running(cluster.api, namespace)
    create(cluster.api, namespace, job("second", ["true"], container=asks))
    pod_where(
        cluster.api,
        namespace,
        "waiting pod",
        lambda pod: condition(pod, "PodScheduled").get("reason") == "Unschedulable",
    )
    assert ended(cluster.api, namespace, "second")["status"]["phase"] == "Succeeded"


def test_a_missing_secret_in_the_environment_waits_and_goes_on_once_it_exists(
    cluster: RunningCluster, namespace: str
) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
    create(cluster.api, namespace, job("patient", ["sh", "-c", 'test "$KEY" = v'], container={"env": env}))

    def waits_with(message: str) -> None:
        pod_where(cluster.api, namespace, message, lambda pod: waiting(pod) == ("CreateContainerConfigError", message))

    waits_with('secret "late" not found')
    secret(cluster, namespace, "late", other="x")
    waits_with(f"couldn't find key k in Secret {namespace}/late")
    path = f"/api/v1/namespaces/{namespace}/secrets/late"
    cluster.api.request("PATCH", path, {"stringData": {"k": "v"}}, content_type="application/merge-patch+json")
    assert ended(cluster.api, namespace, "patient")["status"]["phase"] == "Succeeded"


def test_a_missing_secret_volume_is_told_by_an_event_only(cluster: RunningCluster, namespace: str) -> None:
    container = {"volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}
    volumes = [{"name": "keys", "secret": {"secretName": "late"}}]
    create(cluster.api, namespace, job("mounts", ["cat", "/keys/k"], container=container, volumes=volumes))
    (message,) = wait_for("event", lambda: events(cluster.api, namespace, "FailedMount"))
    assert message == 'MountVolume.SetUp failed for volume "keys" : secret "late" not found'
    assert waiting(pods(cluster.api, namespace)[0]) == ("ContainerCreating", "")
    secret(cluster, namespace, "late", k="v")
    assert ended(cluster.api, namespace, "mounts")["status"]["phase"] == "Succeeded"


def test_a_pod_that_would_be_restarted_is_refused_by_an_event(cluster: RunningCluster, namespace: str) -> None:
    manifest = job("again", ["true"], restartPolicy="OnFailure")
    del manifest["spec"]["podFailurePolicy"]
    create(cluster.api, namespace, manifest)
    (message,) = wait_for("event", lambda: events(cluster.api, namespace, "UnsupportedRestartPolicy"))
    assert message == "this test node runs pods with restartPolicy Never only, not OnFailure"


def test_a_program_that_does_not_exist_is_a_start_error(cluster: RunningCluster, namespace: str) -> None:
    create(cluster.api, namespace, job("typo", ["no-such-program"]))
    how = terminated(ended(cluster.api, namespace))
    assert (how["exitCode"], how["reason"]) == (128, "StartError")
    assert 'exec: "no-such-program": executable file not found in $PATH' in how["message"]


def test_the_end_of_the_log_is_the_message_of_a_container_that_asks_for_it(
    cluster: RunningCluster, namespace: str
) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    create(cluster.api, namespace, job("talks", ["sh", "-c", "echo broken; exit 65"], container=container))
    how = terminated(ended(cluster.api, namespace))
    assert (how["exitCode"], how["message"]) == (65, "broken\n")


def test_init_containers_run_first_and_share_the_volumes(cluster: RunningCluster, namespace: str) -> None:
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    first = job("", ["sh", "-c", "echo hello > /shared/word"], container=mount | {"name": "first"})
    spec = job(
        "init",
        ["sh", "-c", 'test "$(cat /shared/word)" = hello'],
        container=mount,
        volumes=[{"name": "shared", "emptyDir": {}}],
    )
    template = spec["spec"]["template"]["spec"]
    template["initContainers"] = first["spec"]["template"]["spec"]["containers"]
    create(cluster.api, namespace, spec)
    assert ended(cluster.api, namespace, "init")["status"]["phase"] == "Succeeded"


def test_kubectl_logs_shows_and_follows_what_the_container_printed(cluster: RunningCluster, namespace: str) -> None:
    create(cluster.api, namespace, job("chatty", ["sh", "-c", "echo one; echo two >&2; sleep 0.6; echo three"]))
    running(cluster.api, namespace)
    assert cluster.api.kubectl("logs", "-n", namespace, "--follow", "job/chatty") == "one\ntwo\nthree\n"
    assert cluster.api.kubectl("logs", "-n", namespace, "--tail=1", "job/chatty") == "three\n"


def test_a_deleted_pod_has_its_grace_and_its_own_exit_code(cluster: RunningCluster, namespace: str) -> None:
    script = "trap 'sleep 0.3; exit 143' TERM; while :; do sleep 0.05; done"
    manifest = job("graceful", ["sh", "-c", script])
    del manifest["spec"]["podFailurePolicy"]
    create(cluster.api, namespace, manifest)
    name = running(cluster.api, namespace)["metadata"]["name"]
    with kept(cluster.api, namespace, name) as path:
        cluster.api.request("DELETE", path)
        pod = pod_where(cluster.api, namespace, "ended container", lambda pod: "terminated" in container_state(pod))
    assert (terminated(pod)["exitCode"], pod["status"]["phase"]) == (143, "Failed")
    wait_for("end of the pod", lambda: all(one["metadata"]["name"] != name for one in pods(cluster.api, namespace)))


def test_a_container_that_ignores_sigterm_is_killed_after_its_grace(cluster: RunningCluster, namespace: str) -> None:
    manifest = job(
        "stubborn", ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], terminationGracePeriodSeconds=1
    )
    create(cluster.api, namespace, manifest)
    name = running(cluster.api, namespace)["metadata"]["name"]
    with kept(cluster.api, namespace, name) as path:
        grace_ends = cluster.api.request("DELETE", path)["metadata"]["deletionTimestamp"]
        pod = pod_where(cluster.api, namespace, "ended container", lambda pod: "terminated" in container_state(pod))
    assert terminated(pod)["exitCode"] == 137
    assert terminated(pod)["finishedAt"] >= grace_ends
    job_path = f"/apis/batch/v1/namespaces/{namespace}/jobs/stubborn"
    wait_for("failed pod", lambda: cluster.api.request("GET", job_path)["status"].get("failed"))


def test_nothing_of_a_container_outlives_its_first_process(cluster: RunningCluster, namespace: str) -> None:
    mount = {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}
    script = "(while :; do date +%s%N > /out/alive; sleep 0.05; done) & sleep 0.3"
    claim(cluster, namespace, "out")
    volumes = [{"name": "out", "persistentVolumeClaim": {"claimName": "out"}}]
    create(cluster.api, namespace, job("parent", ["sh", "-c", script], container=mount, volumes=volumes))
    ended(cluster.api, namespace)
    alive = cluster.node.folder / "claims" / namespace / "out" / "alive"
    last = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() == last
