"""The commands for runs on a cluster, as a user types them, against the real API server (also those of client.py)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import Cluster, RequestError
from tests.cluster.credentials import write_kubeconfig
from tests.support import builders
from tests.support.archives import unpacked
from tests.support.runs import LIMIT, Runs

from llm2llm.cli.main import main
from llm2llm.client import connect
from llm2llm.errors import ConfigurationError
from llm2llm_cluster import watch
from llm2llm_cluster.view import View

Output = pytest.CaptureFixture[str]
NAMESPACE = "commands"
BUSY = 429


@pytest.fixture(scope="module")
def runs(api: Cluster) -> Runs:
    """Of a namespace that no operator watches: the tests say what their status is."""
    api.create_namespace(NAMESPACE)
    runs = Runs(api, NAMESPACE)
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            runs.all()
        except RequestError as error:  # another module may have exchanged the CRD a moment ago
            if error.code != BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return runs


@pytest.fixture(autouse=True)
def _kubeconfig(api: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))


def run(runs: Runs, name: str, phase: str = "Running", *, labels: dict[str, str] | None = None, **spec: Any) -> str:
    runs.create(name, **spec)
    if labels:
        path = f"/apis/llm2llm.dev/v1alpha1/namespaces/{NAMESPACE}/augmentationruns/{name}"
        content_type = "application/merge-patch+json"
        runs.cluster.request("PATCH", path, {"metadata": {"labels": labels}}, content_type=content_type)
    runs.edit_status(name, {"phase": phase, "message": f"what {name} does"})
    return name


def typed(*arguments: str) -> int:
    return main([*arguments, "-n", NAMESPACE])


def test_get_and_why_show_the_status(runs: Runs, capsys: Output):
    name = run(runs, "shown")
    assert typed("get", name) == 0
    assert "shown is Running: what shown does" in capsys.readouterr().out
    assert typed("get", name, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["name"] == name
    assert typed("why", name) == 0
    assert capsys.readouterr().out == "shown is Running: what shown does\n"


@pytest.mark.parametrize(
    ("phase", "arguments", "spec", "expected"),
    [
        ("Running", ["suspend"], {}, {"suspend": True}),
        ("Suspended", ["resume"], {"suspend": True}, {"suspend": False}),
        ("Failed", ["retry"], {}, {"retry": 1}),
        (
            "Running",
            ["topup", "--tokens", "5"],
            {"budget": {"maxTeacherTokens": 10}},
            {"budget": {"maxTeacherTokens": 15}},
        ),
    ],
    ids=["suspend", "resume", "retry", "topup"],
)
def test_a_change_is_made_and_shown(
    runs: Runs, phase: str, arguments: list[str], spec: dict[str, Any], expected: dict[str, Any], capsys: Output
):
    command, *options = arguments
    name = run(runs, command, phase, **spec)
    assert typed(command, name, *options) == 0
    assert f"{name}: changed\nspec:\n" in capsys.readouterr().out
    found = runs.get(name)["spec"]
    assert {key: found[key] for key in expected if key != "budget"} == {
        k: v for k, v in expected.items() if k != "budget"
    }
    assert found.get("budget", {}).get("maxTeacherTokens") == expected.get("budget", {}).get("maxTeacherTokens")


def test_what_git_keeps_is_not_changed_here_but_said(runs: Runs, capsys: Output):
    name = run(runs, "of-git", labels={"kustomize.toolkit.fluxcd.io/name": "apps"})
    assert typed("suspend", name) == 2
    assert capsys.readouterr().out == (
        "of-git is kept by Flux as Git has it, and may be set back by it: change it there, or use --force\n"
        "spec:\n  suspend: true\n"
    )
    assert not runs.get(name)["spec"]["suspend"]


def test_what_the_api_server_refuses_is_told_in_its_words(runs: Runs, capsys: Output):
    name = run(runs, "refused", budget={"maxTeacherTokens": 10})
    assert typed("topup", name, "--tokens", str(10**16)) == 64
    assert "should be less than or equal to" in capsys.readouterr().err


@pytest.mark.parametrize(("phase", "code"), [("Succeeded", 0), ("Failed", 1), ("Suspended", 2)])
def test_wait_ends_as_the_run_did(runs: Runs, phase: str, code: int):
    assert typed("wait", run(runs, f"ended-{code}", phase)) == code


def test_wait_ends_when_its_time_is_over(runs: Runs, capsys: Output):
    assert typed("wait", run(runs, "at-work"), "--timeout", "0.1") == 2
    assert "at-work is Running" in capsys.readouterr().out


@pytest.fixture
def once_shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Does something once `watch` has shown the run."""
    shown, print_news = threading.Event(), watch._print_news

    def print_and_tell(view: View) -> None:
        print_news(view)
        shown.set()

    def do(action: Callable[[], object]) -> None:
        threading.Thread(target=lambda: (shown.wait(), action()), daemon=True).start()

    monkeypatch.setattr(watch, "_print_news", print_and_tell)
    return do


def test_watch_shows_what_changes_until_the_run_has_ended(runs: Runs, once_shown: Any, capsys: Output):
    name = run(runs, "watched")
    once_shown(lambda: runs.edit_status(name, {"phase": "Succeeded", "message": "all is done"}))
    assert typed("watch", name) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["watched is Running: what watched does", "watched is Succeeded: all is done"]


def test_watch_says_that_a_run_was_deleted(runs: Runs, once_shown: Any, capsys: Output):
    name = run(runs, "watched-deleted")
    once_shown(lambda: runs.delete(name))
    assert typed("watch", name) == 64
    assert capsys.readouterr().err == "watched-deleted was deleted\n"


def test_bundle_has_what_the_api_server_knows_and_no_key(runs: Runs, tmp_path: Path, capsys: Output):
    key = "pl4nted-k3y-of-a-gateway"
    teacher = {"model": "t", "baseUrl": f"https://me:{key}-too@gateway/v1", "extraHeaders": {"x-gateway": key}}
    name = run(runs, "bundled", generate={"teacher": teacher})
    runs.edit_status(name, {"phase": "Running", "message": f"the gateway refuses {key}"})
    make_pod(runs.cluster, name, {"name": "GATEWAY_KEY", "value": f"{key}-as-well"})
    assert typed("bundle", name, "--file", str(tmp_path / "b.tar.gz")) == 0
    told, files = capsys.readouterr().out, unpacked(tmp_path / "b.tar.gz")
    assert key not in told + "".join(files.values())
    assert sorted(files) == ["CONTENTS.txt", "pods.yaml", "run.yaml", "versions.yaml"]
    assert "the gateway refuses ***" in files["run.yaml"]
    assert "kubernetes:\n- v1." in files["versions.yaml"]
    assert "not readable" not in told


def make_pod(cluster: Cluster, run_name: str, variable: dict[str, str]) -> None:
    """Creates a pod of a run, which no node takes."""
    restricted = {
        "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    container = {"name": "step", "image": "none", "env": [variable], "securityContext": restricted}
    pod = {
        "metadata": {"name": f"{run_name}-x", "labels": {"llm2llm.dev/run": run_name}},
        "spec": {"containers": [container], "schedulingGates": [{"name": "llm2llm.dev/never"}]},
    }
    cluster.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod)


def test_who_may_only_get_runs_is_told_what_that_leaves_out(
    runs: Runs, tmp_path: Path, once_shown: Any, monkeypatch: pytest.MonkeyPatch, capsys: Output
):
    """Without the right to watch the run is polled."""
    name = run(runs, "seen-by-a-viewer")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig_of_viewer(runs.cluster, name, tmp_path)))
    assert typed("bundle", name, "--file", str(tmp_path / "b.tar.gz")) == 0
    told = capsys.readouterr().out
    for what in ("Jobs", "Pods", "Events", "version of the operator"):
        assert f"not readable: {what}: the API server answered 403: " in told
    assert sorted(unpacked(tmp_path / "b.tar.gz")) == ["CONTENTS.txt", "run.yaml", "versions.yaml"]
    once_shown(lambda: runs.edit_status(name, {"phase": "Succeeded", "message": "all is done"}))
    assert typed("watch", name) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == (f"{name} is Running: what {name} does", f"{name} is Succeeded: all is done")


def kubeconfig_of_viewer(cluster: Cluster, run_name: str, folder: Path) -> Path:
    """Writes the kubeconfig of somebody who may get the runs of the namespace, and nothing else."""
    rbac, core = (f"{api}/namespaces/{NAMESPACE}" for api in ("/apis/rbac.authorization.k8s.io/v1", "/api/v1"))
    group = "rbac.authorization.k8s.io"
    viewer = {"metadata": {"name": "viewer"}}
    rule = {"apiGroups": ["llm2llm.dev"], "resources": ["augmentationruns"], "verbs": ["get"]}
    account = {"kind": "ServiceAccount", "name": "viewer", "namespace": NAMESPACE}
    cluster.request("POST", f"{core}/serviceaccounts", viewer)
    cluster.request("POST", f"{rbac}/roles", viewer | {"rules": [rule]})
    bound = {"roleRef": {"apiGroup": group, "kind": "Role", "name": "viewer"}, "subjects": [account]}
    cluster.request("POST", f"{rbac}/rolebindings", viewer | bound)
    token = cluster.request("POST", f"{core}/serviceaccounts/viewer/token", {"spec": {}})["status"]["token"]
    path, deadline = (
        f"/apis/llm2llm.dev/v1alpha1/namespaces/{NAMESPACE}/augmentationruns/{run_name}",
        time.monotonic() + LIMIT,
    )
    while True:  # until the API server has heard of the role
        try:
            cluster.request("GET", path, token=token)
        except RequestError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return write_kubeconfig(
                folder / "viewer", server=cluster.server, authority=cluster.authority, token=token, namespace=NAMESPACE
            )


@pytest.mark.parametrize("command", ["get", "why", "watch", "logs", "wait", "suspend", "retry", "bundle"])
def test_a_name_that_is_none_is_told_with_the_one_that_was_meant(runs: Runs, command: str, capsys: Output):
    name = "tickets"
    if name not in {str(each["metadata"]["name"]) for each in runs.all()}:
        run(runs, name)
    assert typed(command, "tikets") == 64
    assert capsys.readouterr().err == (
        "there is no AugmentationRun tikets in namespace commands: did you mean tickets?\n"
    )


def test_a_run_without_a_pod_says_where_the_logs_are(runs: Runs, capsys: Output):
    name = run(runs, "quiet")
    runs.edit_status(name, {"artifactsUri": "s3://b/runs/quiet"})
    assert typed("logs", name, "-s", "train") == 64
    assert (
        capsys.readouterr().err == "quiet has no pod of this step; logs of ended steps are in s3://b/runs/quiet/logs/\n"
    )


def test_without_a_cluster_it_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: Output):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert typed("get", "x") == 64
    assert "set KUBECONFIG" in capsys.readouterr().err


def test_an_api_server_that_is_away_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, api: Cluster, capsys: Output
):
    away = tmp_path / "away.kubeconfig"
    away.write_text(api.kubeconfig.read_text().replace(api.server, "https://127.0.0.1:1"))
    monkeypatch.setenv("KUBECONFIG", str(away))
    assert typed("get", "x") == 75
    assert "the API server cannot be reached" in capsys.readouterr().err


def test_the_client_of_notebooks_creates_finds_and_deletes_a_run(runs: Runs):
    client = connect(namespace=NAMESPACE)
    created = client.create({"metadata": {"name": "by-client"}, "spec": builders.spec(suspend=True)})
    assert (created.name, created.namespace, created.phase) == ("by-client", NAMESPACE, "Pending")
    with pytest.raises(ConfigurationError, match="already exists"):
        client.create({"metadata": {"name": "by-client"}, "spec": builders.spec()})
    assert "by-client" in [each.name for each in client.list()]
    runs.edit_status("by-client", {"phase": "Suspended", "message": "held"})
    assert client.wait("by-client", timeout=LIMIT).message == "held"
    client.delete("by-client")
    with pytest.raises(ConfigurationError, match="there is no AugmentationRun by-client"):
        client.get("by-client")
