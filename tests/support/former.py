"""The code and the chart of an earlier commit, to upgrade from."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.install import CHECKOUT


def unpack(commit: str, folder: Path, *paths: str) -> Path:
    """Unpacks these paths of a commit into the folder, and returns it; a clone that lacks the commit fails the test."""
    archived = subprocess.run(["git", "archive", commit, *paths], cwd=CHECKOUT, capture_output=True, check=False)
    if archived.returncode:
        pytest.fail(f"commit {commit} cannot be had ({archived.stderr.decode().strip()}): git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder
