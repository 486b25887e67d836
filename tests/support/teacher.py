"""The example's teacher as a process: it speaks the OpenAI API, counts, and misbehaves on request."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.processes import Child, spawn, stop, wait_until
from tests.support.keyword import EXAMPLE

KEY = "demo-key"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a test may set a proxy for the product


class Teacher:
    """`examples/keyword/teacher.py` on a free port.

    Attributes:
        base_url: the address for `spec.generate.teacher.baseUrl`.
        key: the API key that it accepts.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        key: str = KEY,
        latency: float = 0.0,
        detached: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        """Takes the folder for its log (none: a temporary one), the seconds that an answer takes, and where to listen."""
        self._host = host
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="teacher-"))
        self.key = key
        self.base_url = ""
        self._latency = latency
        self._detached = detached
        self._child: Child | None = None

    def __enter__(self) -> Teacher:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it and waits for the address that it prints."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "teacher.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-u", str(EXAMPLE / "teacher.py"), "--host", self._host, "--port", "0"]
        command += ["--api-key", self.key, "--latency", str(self._latency)]
        child = self._child = spawn("teacher", command, folder=self.folder, detached=self._detached)
        wait_until("the teacher's address", lambda: b"\n" in log.read_bytes(), [child], timeout=30)
        self.base_url = json.loads(log.read_text().splitlines()[0])["baseUrl"]

    def stop(self) -> None:
        """Ends it."""
        if self._child is not None:
            stop([self._child])
        if self._temporary:
            shutil.rmtree(self.folder)

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return urlsplit(self.base_url).port or 0

    def stats(self) -> dict[str, Any]:
        """What it counted."""
        return dict(self._call("/stats"))

    def fault(self, kind: str, **details: Any) -> None:
        """Makes its next answers fail, or changes the key that it accepts."""
        self._call("/faults", {"kind": kind, **details})

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base_url.removesuffix("/v1") + path, data=data, headers={"Content-Type": "application/json"}
        )
        with _OPENER.open(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")
