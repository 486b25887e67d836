"""What a real S3 server refuses and how it is told, and where a client looks for its server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.cluster.processes import free_port
from tests.cluster.s3 import S3Server

from llm2llm.api.data import Artifacts, S3Access
from llm2llm.errors import AuthenticationError, ConfigurationError, Transient
from llm2llm.storage import open_store
from llm2llm.storage.s3 import S3Store

KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}


def artifacts(endpoint: str) -> Artifacts:
    return Artifacts.model_validate(
        {
            "uri": "s3://bucket/runs",
            "endpoint": endpoint,
            "pathStyle": True,
            "credentialsSecretRef": {"name": "s3-keys"},
        }
    )


def test_wrong_keys_are_told_with_bucket_endpoint_and_secret(s3: S3Server) -> None:
    wrong = s3.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}

    with pytest.raises(AuthenticationError, match=f"bucket bucket at {s3.endpoint}.*Secret s3-keys"):
        open_store("s3://bucket/x", artifacts(s3.endpoint), wrong).read("key")


def test_an_upload_with_wrong_keys_is_told_in_the_same_words(s3: S3Server, tmp_path: Path) -> None:
    wrong = s3.environment | {"AWS_ACCESS_KEY_ID": "nobody"}
    (tmp_path / "file").write_bytes(b"x")

    with pytest.raises(AuthenticationError, match="Secret s3-keys"):
        open_store("s3://bucket/x", artifacts(s3.endpoint), wrong).upload("key", tmp_path / "file")


def test_a_bucket_that_is_not_there_is_a_mistake_in_the_spec(s3: S3Server) -> None:
    with pytest.raises(ConfigurationError, match="no-such-bucket"):
        open_store("s3://no-such-bucket/x", artifacts(s3.endpoint), s3.environment).write("key", b"")


def test_fault_30_a_server_that_is_away_is_transient(s3: S3Server) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = S3Store("s3://bucket/x", artifacts(endpoint), s3.environment, attempts=2)

    with pytest.raises(Transient, match=endpoint):
        store.read("key")


@pytest.mark.parametrize(
    ("access", "address"),
    [
        ({}, "https://bucket.s3.amazonaws.com/runs/x"),
        ({"pathStyle": True}, "https://s3.amazonaws.com/bucket/runs/x"),
        ({"endpoint": "https://minio.corp"}, "https://minio.corp/bucket/runs/x"),
        ({"endpoint": "https://oss-cn-hangzhou.aliyuncs.com", "pathStyle": False}, "https://bucket.oss-cn-hangzhou."),
    ],
    ids=["AWS", "AWS by path", "an endpoint", "an endpoint by host name"],
)
def test_a_bucket_is_addressed_as_its_store_wants_it(access: dict[str, Any], address: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    store = S3Store("s3://bucket/runs", Artifacts.model_validate({"uri": "s3://bucket/runs", **access}), keys)
    named = {"Bucket": "bucket", "Key": "runs/x"}
    assert store._client.generate_presigned_url("get_object", Params=named).startswith(address)


def test_an_endpoint_that_is_no_url_is_an_error_of_its_field():
    with pytest.raises(ConfigurationError, match=r"spec\.artifacts\.endpoint minio:9000: "):
        S3Store("s3://bucket", S3Access(endpoint="minio:9000"), KEYS)


@pytest.mark.parametrize(
    ("access", "environ", "address", "region"),
    [
        pytest.param(
            {}, {"AWS_ENDPOINT_URL": "http://env:1", "AWS_DEFAULT_REGION": "eu-west-1"}, "http://env:1", "eu-west-1",
            id="what the environment says",
        ),
        pytest.param(
            {"endpoint": "http://spec:1", "region": "eu-west-2"},
            {"AWS_ENDPOINT_URL": "http://env:1", "AWS_REGION": "eu-west-1"}, "http://spec:1", "eu-west-2",
            id="unless the spec says otherwise",
        ),
        pytest.param({}, {}, "https://s3.amazonaws.com", "us-east-1", id="AWS if nobody says anything"),
    ],
)  # fmt: skip
def test_the_spec_goes_before_the_environment(
    access: dict[str, Any], environ: dict[str, str], address: str, region: str
):
    store = S3Store("s3://bucket", S3Access.model_validate(access), KEYS | environ)
    assert (store._client.meta.endpoint_url, store._client.meta.region_name) == (address, region)
