"""Stores artifacts in S3 or a service with its API; the only module that uses boto3."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from llm2llm.api.data import S3Access
from llm2llm.errors import AuthenticationError, ConfigurationError, StepError, Transient
from llm2llm.paths import is_relative_path
from llm2llm.runtime.disk import disk_advice
from llm2llm.runtime.masking import without_credentials
from llm2llm.storage.base import ObjectMissing

ATTEMPTS = 8
"""Attempts of one request: with standard back-off and full jitter, about half a minute before a step exits with 75."""
SILENCE_SECONDS = 60
"""A response is abandoned after this long without a byte."""
PART = 16 * 1024 * 1024
"""Bytes per part; larger objects are transferred in parallel parts."""
_CHUNK = 1024 * 1024
_PARALLEL = 8
_TRANSFER = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=_PARALLEL)
_REFUSED = frozenset(
    {
        "403",
        "AccessDenied",
        "ExpiredToken",
        "ExpiredTokenException",
        "IDPRejectedClaim",
        "InvalidIdentityToken",
        "Forbidden",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_MISCONFIGURED = frozenset(
    {"InvalidBucketName", "NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed", "NotImplemented"}
)
_LENGTH = frozenset({"content-length", "transfer-encoding"})
_UNMET = frozenset({"412", "PreconditionFailed"})
_NO_SUCH_RANGE = frozenset({"416", "InvalidRange"})
"""An empty object has no first byte that could be requested."""
_CONFLICT = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})


Result = TypeVar("Result")


class _BrokenOffError(OSError):
    """A response that is incomplete, or that asks for a retry."""


_BROKEN_OFF = (
    _BrokenOffError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
    ValueError,
    KeyError,
)
"""How boto3 reports such a response; a truncated header is a ValueError or, if it is missing, a KeyError."""


class S3Store:
    """Objects below `s3://bucket/prefix`.

    Args:
        uri: the root.
        access: endpoint, region, path style, and the name of the Secret for error messages.
        environ: AWS_ACCESS_KEY_ID and the rest; without a key boto3 looks for credentials itself (workload identity).
        attempts: attempts of one request.
        field: the field of the spec that has these settings, for error messages.
    """

    def __init__(
        self,
        uri: str,
        access: S3Access,
        environ: Mapping[str, str],
        *,
        attempts: int = ATTEMPTS,
        field: str = "spec.artifacts",
    ) -> None:
        self.uri = uri.rstrip("/")
        self._bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._attempts = attempts
        self._field = field
        endpoint = access.endpoint or environ.get("AWS_ENDPOINT_URL", "")
        self._endpoint = without_credentials(endpoint)
        secret = access.credentials_secret_ref
        self._credentials = f"Secret {secret.name}" if secret else "the environment, or the pod's ServiceAccount"
        with self._translate_errors(""):
            try:
                self._client: Any = _client(endpoint, access, environ, attempts)
            except ValueError as error:  # botocore's error for an endpoint that is not a URL
                raise ConfigurationError(without_credentials(f"{self._field}.endpoint {endpoint}: {error}")) from error

    def read(self, key: str) -> bytes:
        return self._get(key)[0]

    def read_start(self, key: str, size: int) -> bytes:
        return self._get(key, Range=f"bytes=0-{size - 1}")[0][:size] if size > 0 else b""

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        return self._get(key)

    def _get(self, key: str, **span: str) -> tuple[bytes, str]:
        """Returns content and entity tag of an object, or of a span of its bytes."""

        def get() -> tuple[bytes, str]:
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **span)
            except ClientError as error:
                if span and _code(error) in _NO_SUCH_RANGE:
                    return b"", ""
                raise
            if not answer["ResponseMetadata"]["HTTPHeaders"].keys() & _LENGTH:
                raise _BrokenOffError("the response ended within its headers")
            with _body(answer) as body:
                data: bytes = body.read()
            return data, answer["ETag"]

        return self._with_retries(key, get)

    def write(self, key: str, data: bytes) -> None:
        self._with_retries(key, lambda: self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data))

    def create(self, key: str, data: bytes) -> bool:
        """See Store.create; after a lost response the retry may find this writer's own object and return False."""
        return self._put_if(key, data, IfNoneMatch="*")

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        """See Store.replace; after a lost response the retry may find this writer's own object and return False."""
        try:
            return self._put_if(key, data, IfMatch=tag)
        except ObjectMissing:
            return False

    def _put_if(self, key: str, data: bytes, **condition: str) -> bool:
        """Writes an object on a condition; returns whether it held."""

        def put() -> bool:
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data, **condition)
            except ClientError as error:
                if _code(error) in _UNMET:
                    return False
                if _code(error) in _CONFLICT:
                    raise _BrokenOffError(str(error)) from error
                raise
            return True

        return self._with_retries(key, put)

    def upload(self, key: str, path: Path) -> None:
        name = self._prefix + key
        self._with_retries(key, lambda: self._client.upload_file(str(path), self._bucket, name, Config=_TRANSFER))

    def download(self, key: str, path: Path) -> None:
        """See Store.download; leaves no file if it fails.

        boto3's own download waits forever if a connection is cut within the headers of its first response.
        """
        with self._translate_errors(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = path.open("wb")
        try:
            with opened as file, ThreadPoolExecutor(_PARALLEL) as pool:
                size, tag = self._part(key, file.fileno(), 0)
                rest = range(PART, size, PART)
                for _ in pool.map(lambda start: self._part(key, file.fileno(), start, tag), rest):
                    pass  # the error of a part is raised here, and waiting parts are canceled
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _part(self, key: str, file: int, start: int, tag: str = "") -> tuple[int, str]:
        """Downloads one part of an object to its position in an open file, and resumes if a response breaks off.

        Returns: the object's size in bytes and its entity tag, which must be the same for all parts.
        """
        place, end = start, start + PART

        def resume() -> int:
            nonlocal place, tag
            span, condition = f"bytes={place}-{end - 1}", {"IfMatch": tag} if tag else {}
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, Range=span, **condition)
            except ClientError as error:
                if _code(error) in _NO_SUCH_RANGE and place == 0:
                    return 0
                raise
            size = int(answer["ContentRange"].rpartition("/")[2])
            with _body(answer) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    place = _write(file, chunk, place)
                    tag = answer["ETag"]  # not before: the response could have been cut within it
            if place != min(end, size):
                raise _BrokenOffError(f"received {place - start} bytes of {span} of {size}")
            return size

        return self._with_retries(key, resume), tag

    def list(self, prefix: str) -> Iterator[str]:
        for key, _, _ in self.entries(prefix):
            yield key

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        place: dict[str, str] = {}
        while True:
            page = self._with_retries(prefix, lambda: self._list_page(prefix, **place))  # noqa: B023 - called at once
            for entry in page.get("Contents", ()):
                key = entry["Key"].removeprefix(self._prefix)
                if is_relative_path(key):  # others are not ours: a console's mark of a folder, or names that would lead
                    yield key, entry["Size"], entry["ETag"].strip('"')  # out of the folder that they are copied to
            if not page["IsTruncated"]:
                return
            place = {"ContinuationToken": page["NextContinuationToken"]}

    def _list_page(self, prefix: str, **place: str) -> Any:
        page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix + prefix, **place)
        page["IsTruncated"]  # a response cut within its headers has none, and would list nothing
        return page

    def delete(self, key: str) -> None:
        with suppress(ObjectMissing):
            self._with_retries(key, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key))

    def _with_retries(self, key: str, call: Callable[[], Result]) -> Result:
        """Returns the result of a call; boto3 does not retry a response that it began to read, so we retry those."""
        with self._translate_errors(key):
            for attempt in range(1, self._attempts):
                try:
                    return call()
                except _BROKEN_OFF:
                    time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - jitter, no secret
            return call()

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError, Boto3Error) as error:
            # The transfer manager raises its own error, which has the actual one as an attribute or as its context.
            inner = getattr(error, "last_exception", error.__context__) if isinstance(error, Boto3Error) else None
            cause = inner if isinstance(inner, (ClientError, BotoCoreError)) else error
            raise self._translate(cause, key) from error
        except (OSError, ResponseParserError, ValueError, KeyError) as error:  # all but the first: see _BROKEN_OFF
            raise Transient(f"{self.uri}/{key}: {error}{disk_advice(error)}") from error

    def _translate(self, error: Exception, key: str) -> StepError | ObjectMissing:
        code = _code(error) if isinstance(error, ClientError) else ""
        reason = without_credentials(str(error))  # it quotes the endpoint
        where = f"bucket {self._bucket} at {self._endpoint or 'AWS'}"
        if code in _MISSING:
            return ObjectMissing(key)
        if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            return AuthenticationError(
                f"there are no credentials for {where} ({reason}): {self._credentials} must have AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        if code in _REFUSED:
            return AuthenticationError(f"{where} refused the credentials ({reason}): check {self._credentials}")
        if code in _MISCONFIGURED:
            return ConfigurationError(f"{where}: {reason}: check {self._field}")
        return Transient(f"{self.uri}/{key} at {self._endpoint or 'AWS'}: {reason}")


@contextmanager
def _body(response: Mapping[str, Any]) -> Iterator[Any]:
    """Yields the body of a response; raises _BrokenOffError if it stalls. boto3 has retried what stalls before it."""
    with closing(response["Body"]) as body:
        try:
            yield body
        except ReadTimeoutError as error:
            raise _BrokenOffError(str(error)) from error


def _write(file: int, data: bytes, offset: int) -> int:
    """Writes all data at an offset of an open file; returns the offset after it."""
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
    return offset


def _client(endpoint: str, access: S3Access, environ: Mapping[str, str], attempts: int) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": _addressing(endpoint, access.path_style)},
        # A manifest has the sha256 of every object, and some servers cannot handle checksum trailers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=10,
        read_timeout=SILENCE_SECONDS,
        max_pool_connections=64,  # eight files at once, each in up to eight parts
    )
    session = boto3.session.Session(
        aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=environ.get("AWS_SESSION_TOKEN"),
        region_name=access.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
    )
    return session.client(
        "s3", endpoint_url=endpoint or None, config=config, verify=environ.get("AWS_CA_BUNDLE") or None
    )


def _addressing(endpoint: str, path_style: bool | None) -> Literal["auto", "path", "virtual"]:
    """Returns the addressing style: most self-hosted servers have no host names for buckets, some stores have only
    those.
    """
    if path_style is None:
        return "path" if endpoint else "auto"
    return "path" if path_style else "virtual"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
