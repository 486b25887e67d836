"""Faults that the node plays on request, and what the real controllers make of them."""

from __future__ import annotations

import time

import pytest
from tests.cluster.faultrules import Match
from tests.cluster.faults import FaultError
from tests.cluster.fixtures import RunningCluster
from tests.integration.cluster.jobs import (
    condition,
    create,
    ended,
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

# Runs until it is asked to end in its first pod, and ends well in the next one.
ONCE = "if [ -e /state/ran ]; then exit 0; fi; touch /state/ran; trap 'exit 143' TERM; while :; do sleep 0.05; done"
FOREVER = "trap 'exit 143' TERM; while :; do sleep 0.05; done"


def survivor(cluster: RunningCluster, namespace: str, name: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "any"}
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    cluster.api.request("POST", path, {"metadata": {"name": name}, "spec": spec})
    mount = {"volumeMounts": [{"name": "state", "mountPath": "/state"}]}
    volumes = [{"name": "state", "persistentVolumeClaim": {"claimName": name}}]
    create(cluster.api, namespace, job(name, ["sh", "-c", ONCE], container=mount, volumes=volumes))


def test_an_evicted_pod_is_replaced_within_the_same_job(cluster: RunningCluster, namespace: str) -> None:
    for name in ("pressed", "drained"):  # together: the Job controller waits 10 s before it replaces a failed pod
        survivor(cluster, namespace, name)
    pressed, drained = (running(cluster.api, namespace, name)["metadata"]["name"] for name in ("pressed", "drained"))
    assert cluster.faults.evict(Match(namespace=namespace, job="pressed")) == [pressed]
    cluster.api.evict(namespace, drained)
    for name in ("pressed", "drained"):
        done = finished(cluster.api, namespace, name)
        assert (outcome(done), done["status"].get("failed", 0)) == ("Complete", 0)
    left = {pod["metadata"]["name"]: pod for pod in pods(cluster.api, namespace)}
    assert len(left) == 3, "the drained pod is gone, the evicted one and both replacements are there"
    first = left[pressed]
    assert (first["status"]["phase"], first["status"]["reason"]) == ("Failed", "Evicted")
    assert terminated(first)["exitCode"] == 143
    assert condition(first, "DisruptionTarget")["reason"] == "TerminationByKubelet"


def test_an_out_of_memory_kill_is_told_by_its_reason(cluster: RunningCluster, namespace: str) -> None:
    create(cluster.api, namespace, job("greedy", ["sh", "-c", FOREVER]))
    cluster.faults.oom(Match(namespace=namespace))
    how = terminated(ended(cluster.api, namespace))
    assert (how["exitCode"], how["reason"]) == (137, "OOMKilled")


def test_a_killed_process_is_an_error_with_137(cluster: RunningCluster, namespace: str) -> None:
    create(cluster.api, namespace, job("killed", ["sh", "-c", FOREVER]))
    cluster.faults.kill(Match(namespace=namespace, labels={"batch.kubernetes.io/job-name": "killed"}), count=1)
    how = terminated(ended(cluster.api, namespace))
    assert (how["exitCode"], how["reason"]) == (137, "Error")


def test_a_fault_without_a_pod_to_meet_is_an_error(cluster: RunningCluster, namespace: str) -> None:
    with pytest.raises(FaultError, match="no running pod"):
        cluster.faults.kill(Match(namespace=namespace), wait_seconds=0)


def test_an_image_that_cannot_be_pulled_backs_off_until_it_can(cluster: RunningCluster, namespace: str) -> None:
    with cluster.faults.image_pull_backoff(Match(namespace=namespace, job="pull")):
        create(cluster.api, namespace, job("pull", ["true"]))
        for reason in ("ErrImagePull", "ImagePullBackOff"):
            pod_where(cluster.api, namespace, reason, lambda pod, reason=reason: waiting(pod)[0] == reason)  # type: ignore[misc]
    assert ended(cluster.api, namespace, "pull")["status"]["phase"] == "Succeeded"


def test_an_invalid_image_name_is_told_at_once(cluster: RunningCluster, namespace: str) -> None:
    with cluster.faults.invalid_image_name(Match(namespace=namespace)):
        create(cluster.api, namespace, job("name", ["true"]))
        pod_where(cluster.api, namespace, "InvalidImageName", lambda pod: waiting(pod)[0] == "InvalidImageName")


def test_held_pods_stay_creating_and_the_count_is_kept(cluster: RunningCluster, namespace: str) -> None:
    with cluster.faults.hold(Match(namespace=namespace), count=1):
        create(cluster.api, namespace, job("held", ["true"]))
        pod_where(cluster.api, namespace, "creating pod", lambda pod: waiting(pod)[0] == "ContainerCreating")
        create(cluster.api, namespace, job("free", ["true"]))
        ended(cluster.api, namespace, "free")
        assert waiting(pods(cluster.api, namespace)[0])[0] == "ContainerCreating"
    assert ended(cluster.api, namespace, "held")["status"]["phase"] == "Succeeded"


def test_a_pod_deleted_before_its_container_ran_ends_as_failed(cluster: RunningCluster, namespace: str) -> None:
    with cluster.faults.hold(Match(namespace=namespace), count=1):
        manifest = job("early", ["true"])
        del manifest["spec"]["podFailurePolicy"]
        create(cluster.api, namespace, manifest)
        pod = pod_where(cluster.api, namespace, "creating pod", lambda pod: waiting(pod)[0] == "ContainerCreating")
        cluster.api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}")
        assert outcome(finished(cluster.api, namespace, "early")) == "Failed"


def test_a_stuck_pod_gets_no_terminal_status_until_it_is_released(cluster: RunningCluster, namespace: str) -> None:
    create(cluster.api, namespace, job("stuck", ["sh", "-c", FOREVER]))
    name = running(cluster.api, namespace)["metadata"]["name"]
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/stuck"
    with cluster.faults.stuck_terminating(Match(namespace=namespace)):
        cluster.api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}")
        wait_for(
            "terminating pod in the Job's status",
            lambda: (
                (status := cluster.api.request("GET", path)["status"]).get("terminating") == 1
                and not status.get("active")
            ),
        )
        (pod,) = pods(cluster.api, namespace)
        assert pod["metadata"]["deletionTimestamp"]
        assert pod["status"]["phase"] == "Running"
    wait_for("end of the pod", lambda: all(one["metadata"]["name"] != name for one in pods(cluster.api, namespace)))


def test_a_stuck_pod_can_go_on_running(cluster: RunningCluster, namespace: str) -> None:
    create(cluster.api, namespace, job("zombie", ["sh", "-c", "trap 'echo asked' TERM; while :; do sleep 0.05; done"]))
    name = running(cluster.api, namespace)["metadata"]["name"]
    with cluster.faults.stuck_terminating(Match(namespace=namespace), keep_running=True):
        cluster.api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=1")
        time.sleep(0.7)
        assert cluster.api.kubectl("logs", "-n", namespace, name) == ""
    wait_for("end of the pod", lambda: all(one["metadata"]["name"] != name for one in pods(cluster.api, namespace)))


def test_a_lost_node_is_noticed_and_its_processes_go_on(cluster: RunningCluster, namespace: str) -> None:
    tolerations = [
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}
    ]
    create(cluster.api, namespace, job("away", ["sh", "-c", FOREVER], tolerations=tolerations))
    name = running(cluster.api, namespace)["metadata"]["name"]
    with cluster.faults.node_lost():
        pod = pod_where(cluster.api, namespace, "doomed pod", lambda pod: "deletionTimestamp" in pod["metadata"])
        assert condition(pod, "DisruptionTarget")["reason"] == "DeletionByTaintManager"
        assert pod["status"]["phase"] == "Running"
    wait_for("end of the pod", lambda: all(one["metadata"]["name"] != name for one in pods(cluster.api, namespace)))
