from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.log import Log

from llm2llm_operator import main as module
from llm2llm_operator.kube.configuration import NoAccess, load_configuration

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://api:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
"""


def test_the_server_is_the_one_that_kubeconfig_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert asyncio.run(load_configuration()).host == "https://api:6443"


@pytest.mark.parametrize("text", [None, "", "{", "kind: Config", KUBECONFIG.replace("current-context: c", "current-context: other")],
                         ids=["no file", "empty", "no YAML", "no context", "a context that is not there"])  # fmt: skip
def test_a_kubeconfig_that_says_nothing_is_named(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(NoAccess, match=f"cannot tell how to reach the API server .*KUBECONFIG={path}"):
        asyncio.run(load_configuration())


def test_a_pod_without_a_token_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(NoAccess, match="automountServiceAccountToken"):
        asyncio.run(load_configuration())


def test_the_operator_ends_with_the_message_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log):
    for name, value in {"KUBECONFIG": str(tmp_path / "none"), "LLM2LLM_NAMESPACE": "ns"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("llm2llm_operator.main.logs.set_up", lambda _: None)
    assert module.main([]) == 64
    [record] = [record for record in log.records if record.name.startswith("llm2llm")]
    assert record.getMessage().startswith("cannot tell how to reach the API server")
    assert record.exc_info is None
