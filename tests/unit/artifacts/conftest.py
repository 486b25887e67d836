from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm.storage import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty store in a folder of the test's own."""
    return LocalStore(tmp_path / "store")
