"""Stores artifacts in a local folder: for the local runner, and for a mounted volume claim."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm2llm.errors import Transient
from llm2llm.runtime.disk import ADVICE
from llm2llm.storage.base import ObjectMissing

_TEMPORARY = ".part-"
"""Prefix of a file that is being written; such files are never listed as objects."""
_CLAIM, _CONTENT = f"{_TEMPORARY}claim", f"{_TEMPORARY}content"
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


class LocalStore:
    """Objects as files below one folder.

    A write goes to a temporary file, which is flushed to disk and renamed, so a reader sees the old or the new object
    and never a part of it. `create` makes a hard link, which only one of several writers can.
    """

    def __init__(self, folder: Path, uri: str = "") -> None:
        self._folder = folder.absolute()
        self.uri = uri.rstrip("/") or self._folder.as_uri()

    def read(self, key: str) -> bytes:
        with self._translate_errors(key):
            return (self._folder / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        with self._translate_errors(key), self._temporary_file(key) as part:
            _write_durably(part, data)
            part.replace(self._folder / key)

    def create(self, key: str, data: bytes) -> bool:
        target = self._folder / key
        if target.exists():
            return False
        with self._translate_errors(key), self._temporary_file(key) as part:
            _write_durably(part, data)
            try:
                os.link(part, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                return _claim(part, target)
        return True

    def upload(self, key: str, path: Path) -> None:
        with self._translate_errors(key), self._temporary_file(key) as part:
            shutil.copyfile(path, part)
            flush(part)
            part.replace(self._folder / key)

    def download(self, key: str, path: Path) -> None:
        with self._translate_errors(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._folder / key, path)

    def list(self, prefix: str) -> Iterator[str]:
        start = self._folder / prefix.rpartition("/")[0]
        with self._translate_errors(prefix):
            keys = [
                (Path(folder) / name).relative_to(self._folder).as_posix()
                for folder, _, names in os.walk(start, onerror=_raise_unless_missing)
                for name in names
                if not name.startswith(_TEMPORARY)
            ]
        yield from sorted(key for key in keys if key.startswith(prefix))

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        for key in self.list(prefix):
            with self._translate_errors(key):
                status = (self._folder / key).stat()
            yield key, status.st_size, str(status.st_mtime_ns)

    def delete(self, key: str) -> None:
        with self._translate_errors(key):
            (self._folder / key).unlink(missing_ok=True)
            shutil.rmtree(_claim_of(self._folder / key), ignore_errors=True)

    @contextmanager
    def _temporary_file(self, key: str) -> Iterator[Path]:
        """Yields a temporary name in the object's folder; flushes the folder once the object is in place."""
        folder = (self._folder / key).parent
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            yield part
            flush(folder)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError) as error:
            if error.filename is not None and Path(error.filename) != self._folder / key:
                raise
            raise ObjectMissing(key) from None
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "OSError")
            raise Transient(f"{self.uri}/{key}: {error.strerror or error} ({name}): {ADVICE}") from error


def _raise_unless_missing(error: OSError) -> None:
    """Raises unless the folder is missing: an unreadable folder must not look empty, its answers were paid for."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Flushes a file's content, or a folder's names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _claim(part: Path, target: Path) -> bool:
    """Creates an object on file systems without hard links; returns whether this writer won.

    A folder cannot be renamed to one that exists and is not empty. The winning folder holds the whole content, so any
    other writer can finish what a killed winner began; and a file stays in it, so that no one wins again.
    """
    folder = part.with_name(f"{part.name}.d")
    folder.mkdir()
    (folder / _CLAIM).write_bytes(b"")
    part.rename(folder / _CONTENT)
    flush(folder)
    claim = _claim_of(target)
    try:
        folder.rename(claim)
        won = True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        won = False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(FileNotFoundError):  # it is in place already
        (claim / _CONTENT).rename(target)
    return won


def _claim_of(target: Path) -> Path:
    return target.with_name(f"{_TEMPORARY}{target.name}.claim")
