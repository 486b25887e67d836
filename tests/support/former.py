"""The code and the chart of an earlier commit, to upgrade from."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.install import CHECKOUT


def unpack(commit: str, folder: Path, *paths: str) -> Path:
    """Unpacks these paths of a commit into the folder, and returns it; skips the test in a clone that lacks the commit."""
    asked = ["git", "cat-file", "-e", commit]
    if subprocess.run(asked, cwd=CHECKOUT, capture_output=True, check=False).returncode:
        pytest.skip(f"a clone without commit {commit}")
    archive = subprocess.run(["git", "archive", commit, *paths], cwd=CHECKOUT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder
