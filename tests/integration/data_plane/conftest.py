from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.s3 import S3Server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server with the bucket `bucket`."""
    with S3Server() as server:
        server.create_bucket("bucket")
        yield server


@pytest.fixture
def prefix() -> str:
    """A place in the bucket that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained student; torch keeps to one thread, so that equal seeds give equal bytes."""
    import torch
    from tests.integration.data_plane.keyword import write_student

    torch.set_num_threads(1)
    return write_student(tmp_path_factory.mktemp("student"))
