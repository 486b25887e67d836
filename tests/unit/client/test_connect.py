"""Which client one gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm2llm.client import LocalClient, connect
from llm2llm.errors import ConfigurationError


def test_a_work_folder_is_for_runs_on_this_machine(tmp_path: Path):
    client = connect(workdir=tmp_path / "out", secrets={"teacher/api-key": "k"})
    assert isinstance(client, LocalClient)
    assert client.list() == []
    with pytest.raises(ConfigurationError, match=r"there is no run tickets in .*out \(there are: none\)"):
        client.get("tickets")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workdir": "out", "namespace": "ml"}, "workdir is for runs on this machine"),
        ({"secrets": {"a/b": "c"}}, "a cluster has its own"),
    ],
)
def test_options_of_both_kinds_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ConfigurationError, match=message):
        connect(**options)


def test_without_a_kubeconfig_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", "none")
    with pytest.raises(ConfigurationError, match="no kubeconfig at none"):
        connect()
