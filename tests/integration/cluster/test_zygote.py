"""A command that is forked from the zygote cannot be told from one that was exec'ed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.fixtures import RunningCluster
from tests.cluster.nodeprocess import NodeProcess
from tests.integration.cluster.jobs import create, ended, job, pod_where, running, terminated

CHECKOUT = Path(__file__).parents[3]
FUNCTION = "tests.integration.cluster.tinycommand:main"
SCRIPT = f"""#!{sys.executable}
import sys
from {FUNCTION.partition(":")[0]} import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same command twice: `forked` is served by the zygote, `execed` is not."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("forked", "execed"):
        (folder / name).write_text(SCRIPT)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def zygote(cluster: RunningCluster, programs: Path) -> Iterator[None]:
    """The cluster's node with a zygote; the usual one is back afterwards."""
    cluster.node.stop()
    path = f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin"
    image_env = {"PATH": path, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
    node = NodeProcess(
        cluster.api, zygote_modules=["decimal"], zygote_commands=[f"forked={FUNCTION}"], image_env=image_env
    )
    with node:
        yield
    cluster.node.start()


WAYS = {
    "environment, folder, user and streams are the container's": (("environment",), 0, "to stderr"),
    "the function's number is the exit code, after atexit": (("code", "69"), 69, "at exit"),
    "a text is printed and means 1": (("text",), 1, "a text goes to stderr"),
    "an uncaught exception is a traceback and 1": (("raise",), 1, "ValueError: uncaught"),
    "threads are waited for": (("thread",), 0, "thread ended"),
    "os._exit is at once": (("exit",), 9, ""),
    "any other argument": (("other",), 64, ""),
}


@dataclass(frozen=True)
class End:
    """How a container ended and what it printed, with its own name taken out."""

    how: dict[str, Any]
    printed: list[str]


@pytest.fixture(scope="module")
def ends(cluster: RunningCluster, zygote: None) -> dict[tuple[str, str], End]:
    """Every way to end, both ways to start, all at once."""
    namespace = "test-zygote"
    cluster.api.create_namespace(namespace)
    mount = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}], "env": [{"name": "A", "value": "$(B)"}]}
    names = {(way, start): f"{start}-{number}" for number, way in enumerate(WAYS) for start in ("forked", "execed")}
    for (way, start), name in names.items():
        volumes = [{"name": "scratch", "emptyDir": {}}]
        create(cluster.api, namespace, job(name, [start, *WAYS[way][0]], container=mount, volumes=volumes))
    found = {}
    for (way, start), name in names.items():
        pod = ended(cluster.api, namespace, name)
        how = {key: terminated(pod).get(key) for key in ("exitCode", "reason", "message")}
        log = cluster.api.kubectl("logs", "-n", namespace, pod["metadata"]["name"])
        found[way, start] = End(how, log.replace(start, "<start>").splitlines())
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_forked_command_ends_like_an_execed_one(ends: dict[tuple[str, str], End], way: str) -> None:
    forked, execed = ends[way, "forked"], ends[way, "execed"]
    _, code, printed = WAYS[way]
    assert forked.how == execed.how
    assert forked.how["exitCode"] == code
    if "traceback" in way:  # the frames between differ, not what went wrong
        assert (forked.printed[0], forked.printed[-1]) == (execed.printed[0], execed.printed[-1])
    else:
        assert sorted(forked.printed) == sorted(execed.printed)
    assert printed in "\n".join(forked.printed)


@pytest.mark.parametrize("name", ["forked", "execed"])
def test_a_command_hears_sigterm_and_ends_by_its_own_code(
    cluster: RunningCluster, namespace: str, zygote: None, name: str
) -> None:
    create(cluster.api, namespace, job(name, [name, "sigterm"]))
    pod = running(cluster.api, namespace)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    pod_where(
        cluster.api,
        namespace,
        "handler",
        lambda _: "waiting" in cluster.api.kubectl("logs", "-n", namespace, pod["metadata"]["name"]),
    )
    finalizers = {"metadata": {"finalizers": ["test/keep"]}}
    cluster.api.request("PATCH", path, finalizers, content_type="application/merge-patch+json")
    cluster.api.request("DELETE", path)
    assert terminated(ended(cluster.api, namespace))["exitCode"] == 143
    cluster.api.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json")
