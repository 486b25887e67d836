"""A real S3 server process (versitygw) over a folder.

The posix backend stores objects as files with metadata in extended attributes. Never with `--nometa`: that would break
the conditional put (`If-None-Match: *`) on which the commit of a step's output rests.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from tests.cluster import binaries
from tests.cluster.processes import Child, PortTakenError, free_port, listens, recorded, spawn, stop, wait_until

REGION = "us-east-1"
_ATTEMPTS = 5


class S3Server:
    """An S3 server of its own, with one pair of keys.

    Attributes:
        endpoint: the server's URL; address buckets by path.
        access_key: the access key id.
        secret_key: the secret access key.
        folder: the server's files; objects lie under `objects/<bucket>/<key>`.
    """

    def __init__(self, folder: Path | None = None, *, detached: bool = False, host: str = "127.0.0.1") -> None:
        """Prepares a server; `start()` or `with` starts it.

        Args:
            folder: where its files go; None makes a temporary folder.
            detached: its process outlives this one.
            host: the address that it listens on.
        """
        self._host = host
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="llm2llm-s3-")) if folder is None else folder.absolute()
        self._detached = detached
        self._child: Child | None = None
        self.endpoint = ""
        self.access_key = "test"
        self.secret_key = secrets.token_hex(20)

    def __enter__(self) -> S3Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What an S3 client reads from its environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    @property
    def keys(self) -> dict[str, str]:
        """Of these, what a Secret holds."""
        return {name: value for name, value in self.environment.items() if "KEY" in name}

    def start(self) -> None:
        """Starts the server unless it runs, and waits until it is healthy (about 0.1 s)."""
        objects, users = self.folder / "objects", self.folder / "iam"
        for folder in (objects, users):
            folder.mkdir(parents=True, exist_ok=True)
        if self.attach():
            return
        state = self.folder / "s3.json"
        if state.exists():  # a folder keeps its keys, which Secrets may hold by now
            self.secret_key = json.loads(state.read_text())["secret_key"]
        program = str(binaries.versitygw())
        for attempt in range(1, _ATTEMPTS + 1):
            port = free_port()
            keys = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
            options = ["--port", f"{self._host}:{port}", "--quiet", "--health", "/health", "--iam-dir", str(users)]
            child = self._child = spawn(
                "versitygw",
                [program, *options, "posix", str(objects)],
                folder=self.folder,
                env={"PATH": os.environ.get("PATH", ""), **keys},
                detached=self._detached,
            )
            try:
                wait_until("the S3 server's port", lambda: listens(child, port), [child])  # noqa: B023 - used at once
            except PortTakenError:
                stop([child])
                if attempt == _ATTEMPTS:
                    raise
                continue
            self.endpoint = f"http://{self._host}:{port}"
            wait_until("a healthy S3 server", self._healthy, [child])
            break
        state.touch(mode=0o600)
        state.write_text(json.dumps({"endpoint": self.endpoint, "secret_key": self.secret_key}))

    def attach(self) -> bool:
        """Takes over a server that already runs in the folder; False when there is none."""
        state = self.folder / "s3.json"
        found = recorded("versitygw", self.folder)
        if found is None or not state.exists():
            return False
        self._child = found
        known = json.loads(state.read_text())
        self.endpoint, self.secret_key = known["endpoint"], known["secret_key"]
        return True

    def stop(self) -> None:
        """Ends the server, and removes a temporary folder."""
        child = self._child or recorded("versitygw", self.folder)
        if child is not None:
            stop([child])
        self._child = None
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def create_bucket(self, name: str) -> str:
        """Creates a bucket, unless it exists, and returns its name."""
        request = urllib.request.Request(
            f"{self.endpoint}/{name}", method="PUT", headers=self._signed("PUT", f"/{name}")
        )
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise RuntimeError(f"creating bucket {name} failed: {error.code} {error.read().decode()}") from error
        return name

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _signed(self, method: str, path: str) -> dict[str, str]:
        """Headers of an empty request by AWS Signature Version 4 (here, so that a bucket needs no boto3)."""
        now = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        empty = hashlib.sha256(b"").hexdigest()
        host = self.endpoint.removeprefix("http://")
        signed = "host;x-amz-content-sha256;x-amz-date"
        headers = f"host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{now}\n"
        canonical = f"{method}\n{path}\n\n{headers}\n{signed}\n{empty}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self.secret_key}".encode()
        for part in (now[:8], REGION, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={self.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        return {
            "Authorization": f"AWS4-HMAC-SHA256 {credential}",
            "x-amz-content-sha256": empty,
            "x-amz-date": now,
        }
