"""Keeps the log of an attempt: its last part goes to the store, with the values of secrets masked."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

LIMIT = 1024 * 1024
"""Bytes of a log to keep: its end, which says how the attempt went."""
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_SHORTEST_SECRET = 6


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

    def masked(self, environ: Mapping[str, str]) -> bytes:
        """Returns the log without the values of environment variables that hold secrets."""
        text = "".join(self._parts)
        for value in secret_values(environ):
            text = text.replace(value, "***")
        return text.encode(errors="replace")[-LIMIT:]


def secret_values(environ: Mapping[str, str]) -> list[str]:
    """Returns the values to mask, longest first: those of variables whose names contain a secret word."""
    return sorted(
        {
            value
            for name, value in environ.items()
            if len(value) >= _SHORTEST_SECRET and any(word in name.upper() for word in _SECRET_WORDS)
        },
        key=len,
        reverse=True,
    )


class _Tee:
    """A stream that also adds to a log."""

    def __init__(self, stream: TextIO, log: Log) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        self._log.add(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def tee_output() -> Iterator[Log]:
    """Copies what this process writes to stdout and stderr into a log."""
    log = Log()
    with redirect_stdout(_Tee(sys.stdout, log)), redirect_stderr(_Tee(sys.stderr, log)):  # type: ignore[type-var]
        yield log
