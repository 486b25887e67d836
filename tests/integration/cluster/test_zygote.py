"""A command that is forked from the zygote cannot be told from one that was exec'ed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.fixtures import RunningCluster
from tests.cluster.nodeprocess import NodeProcess
from tests.cluster.processes import StartError
from tests.integration.cluster.jobs import create, finished, job, pod_where, pods, running, terminated

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


def both(cluster: RunningCluster, namespace: str, *arguments: str) -> tuple[dict[str, Any], str]:
    """Runs the command both ways, asserts that they end alike, and returns how, and what was printed."""
    mount = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}], "env": [{"name": "A", "value": "$(B)"}]}
    ends = []
    for name in ("forked", "execed"):
        manifest = job(name, [name, *arguments], container=mount, volumes=[{"name": "scratch", "emptyDir": {}}])
        create(cluster.api, namespace, manifest)
    for name in ("forked", "execed"):
        finished(cluster.api, namespace, name)
        pod = next(pod for pod in pods(cluster.api, namespace) if pod["metadata"]["name"].startswith(name))
        log = cluster.api.kubectl("logs", "-n", namespace, f"job/{name}").replace(name, "<name>")
        ends.append(({key: terminated(pod).get(key) for key in ("exitCode", "reason", "message")}, log))
    (forked, forked_log), (execed, execed_log) = ends
    assert forked == execed
    if arguments == ("raise",):  # the frames between differ, not what went wrong
        assert forked_log.splitlines()[-1] == execed_log.splitlines()[-1]
    else:
        assert sorted(forked_log.splitlines()) == sorted(execed_log.splitlines())
    return forked, forked_log


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        pytest.param(("environment",), 0, "to stderr", id="environment, folder, user and streams are the container's"),
        pytest.param(("code", "69"), 69, "at exit", id="the function's number is the exit code, after atexit"),
        pytest.param(("text",), 1, "a text goes to stderr", id="a text is printed and means 1"),
        pytest.param(("raise",), 1, "ValueError: uncaught", id="an uncaught exception is a traceback and 1"),
        pytest.param(("thread",), 0, "thread ended", id="threads are waited for"),
        pytest.param(("exit",), 9, "", id="os._exit is at once"),
        pytest.param(("other",), 64, "", id="any other argument"),
    ],
)
def test_a_forked_command_ends_like_an_execed_one(
    cluster: RunningCluster, namespace: str, zygote: None, arguments: tuple[str, ...], code: int, printed: str
) -> None:
    ended, log = both(cluster, namespace, *arguments)
    assert ended["exitCode"] == code
    assert printed in log


@pytest.mark.parametrize("name", ["forked", "execed"])
def test_a_command_hears_sigterm_and_ends_by_its_own_code(
    cluster: RunningCluster, namespace: str, zygote: None, name: str
) -> None:
    create(cluster.api, namespace, job(name, [name, "sigterm"]))
    pod = running(cluster.api, namespace)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    pod_where(cluster.api, namespace, "handler", lambda _: "waiting" in cluster.api.kubectl("logs", "-n", namespace, pod["metadata"]["name"]))
    finalizers = {"metadata": {"finalizers": ["test/keep"]}}
    cluster.api.request("PATCH", path, finalizers, content_type="application/merge-patch+json")
    cluster.api.request("DELETE", path)
    ended = pod_where(cluster.api, namespace, "ended pod", lambda pod: pod["status"]["phase"] == "Failed")
    assert terminated(ended)["exitCode"] == 143
    cluster.api.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json")


def test_pods_that_ran_when_the_agent_stopped_are_failed_by_the_next_one(
    cluster: RunningCluster, namespace: str
) -> None:
    create(cluster.api, namespace, job("orphan", ["sleep", "600"]))
    running(cluster.api, namespace)
    cluster.node.stop()
    cluster.node.start()
    pod = pod_where(cluster.api, namespace, "failed pod", lambda pod: pod["status"]["phase"] == "Failed")
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (137, "ContainerStatusUnknown")


def test_a_zygote_that_cannot_import_its_modules_fails_the_start(cluster: RunningCluster) -> None:
    cluster.node.stop()
    node = NodeProcess(cluster.api, zygote_modules=["no_such_module"], zygote_commands=[f"x={FUNCTION}"])
    try:
        with pytest.raises(StartError, match="No module named 'no_such_module'"):
            node.start()
    finally:
        node.stop()
        cluster.node.start()
