"""Defines what the data plane needs from a store: few methods, one of them atomic.

Correctness depends on `create`: of several writers of one key exactly one wins (S3: `If-None-Match: *`, a local folder:
a hard link). Everything else is written under a name that only its writer uses, or, like the local runner's lock, by
`replace`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class ObjectMissing(KeyError):
    """There is no object with this key."""


class Store(Protocol):
    """Objects under one root; keys are relative to it and use `/` (paths.relative_path).

    Every method raises `llm2llm.errors.Transient`, after its own retries, if the store cannot be reached, and
    `llm2llm.errors.AuthenticationError` or `ConfigurationError` if retrying cannot help.
    """

    uri: str
    """The root, without a slash at the end."""

    def read(self, key: str) -> bytes:
        """Returns the whole object. Raises ObjectMissing."""

    def read_start(self, key: str, size: int) -> bytes:
        """Returns the first `size` bytes of the object, all if it has fewer. Raises ObjectMissing."""

    def write(self, key: str, data: bytes) -> None:
        """Writes or replaces the object, atomically."""

    def create(self, key: str, data: bytes) -> bool:
        """Writes the object unless it exists; returns False if it does."""

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """Returns the whole object and a tag of its content, for `replace`. Raises ObjectMissing."""

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        """Replaces the object if its content still has this tag; returns False if it has another, or is gone.

        Of several writers with the same tag one wins, provided that their contents differ.
        """

    def upload(self, key: str, path: Path) -> None:
        """Writes or replaces the object from a file, atomically, in parallel parts if it is large."""

    def download(self, key: str, path: Path) -> None:
        """Copies the object into a file, whose folder is created if needed. Raises ObjectMissing."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yields the keys that begin with `prefix`, in lexical order, without objects whose names are no keys."""

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Yields key, size and entity tag of the objects that `list` yields.

        The tag changes whenever the content does: S3's ETag, or the modification time in a file system.
        """

    def delete(self, key: str) -> None:
        """Deletes the object, if it exists."""
