"""Which API server and namespace the commands take: those that kubectl would."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import incluster_config

from llm2llm.errors import ConfigurationError
from llm2llm_cluster.kubeconfig import load


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def content(*names: str, current: str | None = None, **cluster: Any) -> dict[str, Any]:
    """Contexts of these names, each with a cluster and a user of its own."""
    current_context = {"current-context": current} if current is not None else {}
    return current_context | {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}"} | cluster} for name in names],
        "users": [{"name": name, "user": {"token": f"of {name}"}} for name in names],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"ns-{name}"}} for name in names],
    }  # fmt: skip


def written(path: Path, document: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return str(path)


def found(environ: dict[str, str], context: str | None = None) -> tuple[str, str]:
    configuration, namespace = load(context, environ)
    return configuration.host, namespace


@pytest.mark.parametrize(
    "environ", [{}, {"KUBECONFIG": ""}, {"KUBECONFIG": os.pathsep}], ids=["unset", "empty", "blank"]
)
def test_without_kubeconfig_the_file_in_the_home_counts(home: Path, environ: dict[str, str]):
    written(home / ".kube" / "config", content("a", current="a"))
    assert found(environ) == ("https://a", "ns-a")


@pytest.mark.parametrize("current", [None, "", "gone"])
def test_a_context_that_is_named_needs_no_current_one(home: Path, current: str | None):
    environ = {"KUBECONFIG": written(home / "k", content("a", "b", current=current))}
    assert found(environ, "b") == ("https://b", "ns-b")
    with pytest.raises(
        ConfigurationError, match=r"(has no current-context|no context gone in .*): name one with --context: "
    ):
        load(None, environ)


def test_a_context_that_does_not_exist_is_told_with_those_that_do(home: Path):
    environ = {"KUBECONFIG": written(home / "k", content("a", current="a"))}
    with pytest.raises(ConfigurationError, match=r"there is no context b in .*k: name one with --context: a"):
        load("b", environ)


@pytest.mark.parametrize(
    ("files", "context", "expected"),
    [
        pytest.param([content("a", current="a"), content("b", current="b")], None, "a", id="the first current one"),
        pytest.param([content("a"), content("b", current="b")], None, "b", id="the only current one"),
        pytest.param([content("a", current="a"), content("b")], "b", "b", id="a named one of the second file"),
        pytest.param([{"current-context": "b"}, content("b")], None, "b", id="named in one file, defined in another"),
        pytest.param(["", content("b", current="b")], None, "b", id="an empty file before it"),
        pytest.param([content("b", current="b"), ""], None, "b", id="an empty file after it"),
        pytest.param([None, content("b", current="b")], None, "b", id="a file that does not exist"),
    ],
)
def test_several_files_are_one(home: Path, files: list[Any], context: str | None, expected: str):
    paths = [written(home / str(n), file) if file is not None else str(home / "gone") for n, file in enumerate(files)]
    assert found({"KUBECONFIG": os.pathsep.join(paths)}, context) == (f"https://{expected}", f"ns-{expected}")


def test_a_path_in_a_file_is_beside_that_file(home: Path):
    certificate = home / "second" / "ca.pem"
    written(certificate, "x")
    paths = [written(home / "first" / "k", content("a")),
             written(certificate.with_name("k"), content("b", current="b", **{"certificate-authority": "ca.pem"}))]  # fmt: skip
    configuration, _ = load(None, {"KUBECONFIG": os.pathsep.join(paths)})
    assert configuration.ssl_ca_cert == str(certificate)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param("a: [\n", "line 2 is no YAML", id="broken"),
        pytest.param("\x00", "cannot be read", id="no text"),
        pytest.param("words", "is not a kubeconfig", id="a word"),
        pytest.param("[1]", "is not a kubeconfig", id="a list"),
        pytest.param(
            {"current-context": "a", "contexts": "a"}, "is not a usable kubeconfig", id="contexts that are none"
        ),
        pytest.param(
            {"current-context": "a", "contexts": [{"name": "a"}]}, "is not a usable kubeconfig", id="no cluster"
        ),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_told(home: Path, document: Any, words: str):
    environ = {"KUBECONFIG": written(home / "k", document)}
    with pytest.raises(ConfigurationError, match=rf"^no cluster to ask: .*k.* ?{words}"):
        load(None, environ)


def test_without_any_it_is_told_what_to_set():
    with pytest.raises(ConfigurationError, match=r"no kubeconfig at ~/\.kube/config: set KUBECONFIG"):
        load(None, {})


def test_in_a_pod_its_service_account_is_the_last_resort(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", written(home / "sa" / "token", "t"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", written(home / "sa" / "ca.crt", "c"))
    assert found({}) == ("https://10.0.0.1:443", "default")
    written(home / "sa" / "namespace", "team-a\n")
    assert found({}) == ("https://10.0.0.1:443", "team-a")
    with pytest.raises(ConfigurationError, match="no kubeconfig"):
        load("a", {})
    assert found({"KUBECONFIG": written(home / "k", content("a", current="a"))}) == ("https://a", "ns-a")
