"""Artifacts in S3 or what speaks its API; the only module that knows boto3."""

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
from llm2llm.runtime.disk import disk_advice
from llm2llm.storage.base import ObjectMissing

ATTEMPTS = 8
"""Tries of one request: with standard back-off and full jitter, about half a minute before a step gives up with 75."""
SILENCE_SECONDS = 60
"""Without a byte for so long an answer is given up."""
PART = 16 * 1024 * 1024
"""Bytes of a part; what is larger goes in parts, several at once."""
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
_EXISTS = frozenset({"412", "PreconditionFailed"})
_NO_SUCH_RANGE = frozenset({"416", "InvalidRange"})
"""Of an empty object not even the first byte can be asked for."""
_CONFLICT = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})


Result = TypeVar("Result")


class _BrokenOffError(OSError):
    """An answer that did not come as a whole, or that asks to be tried again."""


_BROKEN_OFF = (
    _BrokenOffError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
    ValueError,
    KeyError,
)
"""What boto3 makes of such an answer; a header that was cut is a ValueError or, where it is missing, a KeyError."""


class S3Store:
    """Objects below `s3://bucket/prefix`.

    Args:
        uri: the root.
        access: endpoint, region, path style, and the name of the Secret for error messages.
        environ: AWS_ACCESS_KEY_ID and the rest; without a key boto3 looks for credentials itself (workload identity).
        attempts: tries of one request.
        field: the field of the spec that these settings are of, for error messages.
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
        self._endpoint = access.endpoint or environ.get("AWS_ENDPOINT_URL", "")
        secret = access.credentials_secret_ref
        self._credentials = f"Secret {secret.name}" if secret else "the environment, or the pod's ServiceAccount"
        with self._failures(""):
            try:
                self._client: Any = _client(self._endpoint, access, environ, attempts)
            except ValueError as error:  # botocore's word for an endpoint that is no URL
                raise ConfigurationError(f"{self._field}.endpoint {self._endpoint}: {error}") from error

    def read(self, key: str) -> bytes:
        def get() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            if not answer["ResponseMetadata"]["HTTPHeaders"].keys() & _LENGTH:
                raise _BrokenOffError("the response ended within its headers")
            with _body(answer) as body:
                data: bytes = body.read()
            return data

        return self._with_retries(key, get)

    def write(self, key: str, data: bytes) -> None:
        self._with_retries(key, lambda: self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data))

    def create(self, key: str, data: bytes) -> bool:
        """See Store.create; after a lost answer the retry may find this writer's own object and say False."""

        def put() -> bool:
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if _code(error) in _EXISTS:
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
        """See Store.download; no file is left where it fails.

        boto3's own waits for ever where a connection is cut within the headers of its first answer.
        """
        with self._failures(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = path.open("wb")
        try:
            with opened as file, ThreadPoolExecutor(_PARALLEL) as pool:
                size, tag = self._part(key, file.fileno(), 0)
                rest = range(PART, size, PART)
                for _ in pool.map(lambda start: self._part(key, file.fileno(), start, tag), rest):
                    pass  # an error of a part is raised here, and the parts that wait are given up
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _part(self, key: str, file: int, start: int, tag: str = "") -> tuple[int, str]:
        """Writes one part of an object to its place in an open file, and goes on where an answer breaks off.

        Returns: the object's size in bytes and its entity tag, which the object of the other parts has to have.
        """
        place, end = start, start + PART

        def go_on() -> int:
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
                    tag = answer["ETag"]  # not before: the answer could have ended within it
            if place != min(end, size):
                raise _BrokenOffError(f"received {place - start} bytes of {span} of {size}")
            return size

        return self._with_retries(key, go_on), tag

    def list(self, prefix: str) -> Iterator[str]:
        for key, _, _ in self.entries(prefix):
            yield key

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Key, size and entity tag of the objects whose keys begin with `prefix`, in lexical order."""
        place: dict[str, str] = {}
        while True:
            page = self._with_retries(prefix, lambda: self._page(prefix, **place))  # noqa: B023 - called at once
            for entry in page.get("Contents", ()):
                yield entry["Key"].removeprefix(self._prefix), entry["Size"], entry["ETag"].strip('"')
            if not page["IsTruncated"]:
                return
            place = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, prefix: str, **place: str) -> Any:
        page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix + prefix, **place)
        page["IsTruncated"]  # an answer that ends within its headers has none, and would list nothing
        return page

    def delete(self, key: str) -> None:
        with suppress(ObjectMissing):
            self._with_retries(key, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key))

    def _with_retries(self, key: str, call: Callable[[], Result]) -> Result:
        """What a call gives. boto3 tries requests again, but no answer whose reading it began: these are tried here."""
        with self._failures(key):
            for attempt in range(1, self._attempts):
                try:
                    return call()
                except _BROKEN_OFF:
                    time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - jitter, no secret
            return call()

    @contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError, Boto3Error) as error:
            # The transfer manager raises its own error, which holds the one that tells, or came while it was handled.
            inner = getattr(error, "last_exception", error.__context__) if isinstance(error, Boto3Error) else None
            cause = inner if isinstance(inner, (ClientError, BotoCoreError)) else error
            raise self._translate(cause, key) from error
        except (OSError, ResponseParserError, ValueError, KeyError) as error:  # but for the first: see _BROKEN_OFF
            raise Transient(f"{self.uri}/{key}: {error}{disk_advice(error)}") from error

    def _translate(self, error: Exception, key: str) -> StepError | ObjectMissing:
        code = _code(error) if isinstance(error, ClientError) else ""
        where = f"bucket {self._bucket} at {self._endpoint or 'AWS'}"
        if code in _MISSING:
            return ObjectMissing(key)
        if code in _REFUSED or isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            return AuthenticationError(f"{where} refused the credentials ({error}): check {self._credentials}")
        if code in _MISCONFIGURED:
            return ConfigurationError(f"{where}: {error}: check {self._field}")
        return Transient(f"{self.uri}/{key} at {self._endpoint or 'AWS'}: {error}")


@contextmanager
def _body(answer: Mapping[str, Any]) -> Iterator[Any]:
    """The body of an answer. One that stalls has broken off; what stalls before it, boto3 has tried often enough."""
    with closing(answer["Body"]) as body:
        try:
            yield body
        except ReadTimeoutError as error:
            raise _BrokenOffError(str(error)) from error


def _write(file: int, data: bytes, place: int) -> int:
    """Writes all of it at that place of an open file; the place after it."""
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written
    return place


def _client(endpoint: str, access: S3Access, environ: Mapping[str, str], attempts: int) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": _addressing(endpoint, access.path_style)},
        # A manifest holds the sha256 of every object; checksum trailers are what other servers stumble over.
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


def _addressing(endpoint: str, by_path: bool | None) -> Literal["auto", "path", "virtual"]:
    """Most servers of one's own know no host names of buckets, and some stores know nothing else."""
    if by_path is None:
        return "path" if endpoint else "auto"
    return "path" if by_path else "virtual"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
