"""Keeps the log of an attempt, whose end goes to the store; secrets are masked before anything is printed or kept."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TextIO

from llm2llm.runtime.masking import Masker

LIMIT = 1024 * 1024
"""Bytes of a log to keep: its end, which says how the attempt went."""
_LINE_LIMIT = 64 * 1024
"""Characters after which a line is printed although it has no end yet."""


class Log:
    """Keeps the last characters written to stdout and stderr."""

    def __init__(self) -> None:
        self._parts: deque[str] = deque()
        self._size = 0

    def add(self, text: str) -> None:
        """Adds a piece and drops the oldest ones."""
        self._parts.append(text)
        self._size += len(text)
        while self._size > LIMIT and len(self._parts) > 1:
            self._size -= len(self._parts.popleft())

    def encode(self) -> bytes:
        """Returns the log as UTF-8."""
        return "".join(self._parts).encode(errors="replace")[-LIMIT:]


class _Tee:
    """A stream that masks whole lines, and also adds them to a log.

    A line that is flushed before its end goes on but for its last characters if a secret begins with them.
    """

    def __init__(self, stream: TextIO, mask: Masker, log: Log) -> None:
        self._stream = stream
        self._mask = mask
        self._log = log
        self._line = ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:
            self._line += text
            end = max(self._line.rfind("\n"), self._line.rfind("\r")) + 1
            if end or len(self._line) > _LINE_LIMIT:
                self._pass_on(end or self._mask.settled(self._line))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._lock:
            if self._line:
                self._pass_on(self._mask.settled(self._line))
        self._stream.flush()

    def finish(self) -> None:
        """Passes on the whole of a line that has no end."""
        with self._lock:
            self._pass_on(len(self._line))
        self._stream.flush()

    def close(self) -> None:
        self.finish()
        self._stream.close()

    def _pass_on(self, end: int) -> None:
        text, self._line = self._mask(self._line[:end]), self._line[end:]
        self._log.add(text)
        self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def tee_output(mask: Masker) -> Iterator[Log]:
    """Masks what this process writes to stdout and stderr through Python, and copies it into a log."""
    log = Log()
    out, err = _Tee(sys.stdout, mask, log), _Tee(sys.stderr, mask, log)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield log
        finally:
            for stream in (out, err):
                with suppress(OSError, ValueError):  # closed by whoever reads it: not what ended the block
                    stream.finish()
