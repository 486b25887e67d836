from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.apianswers import Server, answering


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that the kubeconfig of the test names."""
    with answering(tmp_path / "kubeconfig") as server:
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield server
