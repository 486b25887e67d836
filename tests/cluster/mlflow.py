"""A real MLflow server over a folder, with one process and SQLite."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.processes import free_port, listens, spawn, stop, wait_until


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Runs a server (about four seconds of CPU) and yields its address."""
    port = free_port()
    command = [str(binaries.mlflow()), "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "files"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    child = spawn("mlflow", command, folder=folder, env=environment)
    try:
        wait_until("MLflow's port", lambda: listens(child, port), [child])
        address = f"http://127.0.0.1:{port}"
        wait_until("a healthy MLflow server", lambda: _is_healthy(address), [child])
        yield address
    finally:
        stop([child])


def _is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=10) as response:
            return bool(response.status == 200)
    except urllib.error.URLError:
        return False
