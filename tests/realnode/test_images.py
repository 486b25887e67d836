"""Each image's own check, in a pod under `restricted`, as its own user and as one that OpenShift would choose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.controlplane import Cluster
from tests.realnode import images
from tests.realnode.node import RealNode

SELFTEST = Path(__file__).resolve().parents[2] / "images" / "selftest.py"
NAMESPACE = "selftest"


def pod(image: str, uid: int, group: int) -> dict[str, Any]:
    """A pod as strict as the operator's steps, with the check from a ConfigMap."""
    container = {
        "name": "check",
        "image": images.reference(image),
        "imagePullPolicy": "Never",
        "command": ["python", "/selftest/selftest.py", image],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "selftest", "mountPath": "/selftest"},
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{image}-{uid}", "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": uid,
                "runAsGroup": group,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "selftest", "configMap": {"name": "selftest"}},
                {"name": "scratch", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }


@pytest.fixture(scope="module")
def selftest(real: tuple[Cluster, RealNode]) -> Cluster:
    cluster, _ = real
    cluster.create_namespace(NAMESPACE, pod_security="restricted")
    cluster.kubectl("-n", NAMESPACE, "create", "configmap", "selftest", f"--from-file={SELFTEST}")
    return cluster


@pytest.mark.parametrize("image", images.names())
@pytest.mark.parametrize(("uid", "group"), [(65532, 65532), (1000900000, 0)], ids=["its own user", "OpenShift's"])
def test_an_image_is_as_it_should_be_on_a_root_that_cannot_be_written(
    selftest: Cluster, image: str, uid: int, group: int
):
    name = f"{image}-{uid}"
    selftest.kubectl("apply", "-f", "-", stdin=json.dumps(pod(image, uid, group)))
    ended = ("--for=jsonpath={.status.containerStatuses[0].state.terminated}", f"pod/{name}", "--timeout=240s")
    selftest.kubectl("-n", NAMESPACE, "wait", *ended)
    said = selftest.kubectl("-n", NAMESPACE, "logs", name)
    assert said.endswith(f"{image}: as it should be, for UID {uid}\n"), said
