from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from tests.cluster.s3 import S3Server

from llm2llm.api.data import Artifacts
from llm2llm.storage import Store, open_store


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


@pytest.fixture
def bucket(s3: S3Server, prefix: str) -> Store:
    """That place, as a store."""
    artifacts = Artifacts.model_validate({"uri": "s3://bucket", "endpoint": s3.endpoint, "pathStyle": True})
    return open_store(f"s3://bucket/{prefix}", artifacts, s3.environment)
