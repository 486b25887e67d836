"""What a bucket's store makes of the errors of its requests; tests/integration/data_plane/test_s3*.py have a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from llm2llm.api.data import S3Access
from llm2llm.errors import AuthenticationError, ConfigurationError, StepError, Transient
from llm2llm.storage import ObjectMissing
from llm2llm.storage.s3 import S3Store


class Client:
    """One whose every request fails with this; boto3 takes most of a second to make its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def fail(**_: Any) -> None:
            raise self.error

        return fail


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., S3Store]:
    """A store whose every request fails with an error."""

    def make(error: Exception, **access: Any) -> S3Store:
        monkeypatch.setattr("llm2llm.storage.s3._client", lambda *_: Client(error))
        return S3Store("s3://bucket/runs", S3Access.model_validate(access), {}, attempts=1, field="spec.data.seed")

    return make


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "words of the server"}}, "GetObject")


@pytest.mark.parametrize(
    ("error", "access", "kind", "words"),
    [
        pytest.param(
            refused("AccessDenied"), {"credentialsSecretRef": {"name": "rows"}}, AuthenticationError,
            "bucket bucket at AWS refused the credentials .*words of the server.*: check Secret rows",
            id="keys of a Secret",
        ),
        pytest.param(
            refused("ExpiredToken"), {}, AuthenticationError, "check the environment, or the pod's ServiceAccount",
            id="keys of the environment",
        ),
        pytest.param(
            NoCredentialsError(), {"credentialsSecretRef": {"name": "rows"}}, AuthenticationError,
            "no credentials for bucket bucket at AWS .*: Secret rows must have AWS_ACCESS_KEY_ID", id="no keys at all",
        ),
        pytest.param(
            refused("NoSuchBucket"), {"endpoint": "http://minio"}, ConfigurationError,
            r"bucket bucket at http://minio: .*: check spec\.data\.seed", id="a bucket that is not there",
        ),
        pytest.param(refused("InternalError"), {}, Transient, "s3://bucket/runs/key at AWS: ", id="the server's own"),
        pytest.param(refused("SomethingNew"), {}, Transient, "SomethingNew", id="a code that nobody knows"),
        pytest.param(OSError(28, "No space left"), {}, Transient, "free space", id="the disk of the step"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(
    failing: Callable[..., S3Store], error: Exception, access: dict[str, Any], kind: type[StepError], words: str
):
    with pytest.raises(kind, match=words):
        failing(error, **access).read("key")


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "InternalError"])
def test_an_error_shows_no_password_of_an_endpoint(failing: Callable[..., S3Store], code: str):
    error = ClientError({"Error": {"Code": code, "Message": "at http://me:hush@minio/bucket"}}, "GetObject")
    with pytest.raises(StepError, match="at http://minio") as told:
        failing(error, endpoint="http://me:hush@minio").read("key")
    assert "hush" not in told.value.message


@pytest.mark.parametrize("code", ["404", "NoSuchKey", "NotFound"])
def test_a_key_that_is_not_there_is_missing_and_need_not_be_deleted(failing: Callable[..., S3Store], code: str):
    store = failing(refused(code))
    with pytest.raises(ObjectMissing, match="key"):
        store.read("key")
    store.delete("key")


def test_of_two_writers_the_second_is_told_so(failing: Callable[..., S3Store]):
    assert failing(refused("PreconditionFailed")).create("key", b"") is False
    assert failing(refused("412")).create("key", b"") is False


class Lister:
    """A client of a bucket with these keys."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def list_objects_v2(self, **_: Any) -> dict[str, Any]:
        contents = [{"Key": f"runs/{key}", "Size": 1, "ETag": '"e"'} for key in self.keys]
        return {"Contents": contents, "IsTruncated": False}


def test_fault_55_names_that_would_lead_out_of_a_folder_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Lister("../../etc/passwd", "/etc/passwd", "", "a", "b/", "b/c", "b//c", "b/../../x", "d\ne", "..f")
    monkeypatch.setattr("llm2llm.storage.s3._client", lambda *_: client)
    store = S3Store("s3://bucket/runs", S3Access(), {})
    assert list(store.list("")) == ["a", "b/c", "..f"]
