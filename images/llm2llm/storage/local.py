"""Stores artifacts in a local folder: for the local runner, and for a mounted volume claim."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm2llm.errors import ConfigurationError, Transient
from llm2llm.paths import is_relative_path, join
from llm2llm.runtime.disk import ADVICE
from llm2llm.storage.base import ObjectMissing

_TEMPORARY = ".part-"
"""Prefix of a file that is being written; such files are never listed as objects."""
_CLAIM, _CONTENT = f"{_TEMPORARY}claim", f"{_TEMPORARY}content"
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
"""Errors of flock on a file system without locks, e.g. a share of NFS whose server offers none."""


class LocalStore:
    """Objects as files below one folder.

    A write goes to a temporary file, which is flushed to disk and renamed, so a reader sees the old or the new object
    and never a part of it. `create` makes a hard link, which only one of several writers can.
    """

    def __init__(self, folder: Path, uri: str = "", *, within: Path | None = None) -> None:
        """Takes the folder, its URI, and a folder that symbolic links may not leave, by default the folder itself."""
        self._folder = folder.absolute()
        self._within = within or self._folder
        self.uri = uri.rstrip("/") or self._folder.as_uri()

    def read(self, key: str) -> bytes:
        path = self.path(key)
        with self._translate_errors(path, key):
            return path.read_bytes()

    def read_start(self, key: str, size: int) -> bytes:
        path = self.path(key)
        with self._translate_errors(path, key), path.open("rb") as file:
            return file.read(size)

    def write(self, key: str, data: bytes) -> None:
        path = self.path(key)
        with self._translate_errors(path, key), _temporary_file(path) as part:
            _write_durably(part, data)
            part.replace(path)

    def create(self, key: str, data: bytes) -> bool:
        target = self.path(key)
        with self._translate_errors(target, key):
            if target.exists():
                return False
        with self._translate_errors(target, key), _temporary_file(target) as part:
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

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        data = self.read(key)
        return data, hashlib.sha256(data).hexdigest()

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        """See Store.replace; without locks (NO_LOCKS) two writers at the same moment may both win."""
        path = self.path(key)
        with self._translate_errors(path, key), _exclusive(path):
            try:
                if self.read_tagged(key)[1] != tag:
                    return False
            except ObjectMissing:
                return False
            self.write(key, data)
            return True

    def upload(self, key: str, path: Path) -> None:
        target = self.path(key)
        with self._translate_errors(target, key), _temporary_file(target) as part:
            shutil.copyfile(path, part)
            flush(part)
            part.replace(target)

    def download(self, key: str, path: Path) -> None:
        source = self.path(key)
        with self._translate_errors(source, key):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)

    def list(self, prefix: str) -> Iterator[str]:
        above = prefix.rpartition("/")[0]
        start = self.path(above) if above else self._folder
        with self._translate_errors(start, prefix):
            keys = [
                (Path(folder) / name).relative_to(self._folder).as_posix()
                for folder, _, names in os.walk(start, onerror=_raise_unless_missing)
                for name in names
                if not name.startswith(_TEMPORARY)
            ]
        yield from sorted(key for key in keys if key.startswith(prefix) and is_relative_path(key))

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        for key in self.list(prefix):
            path = self.path(key)
            with self._translate_errors(path, key):
                status = path.stat()
            yield key, status.st_size, str(status.st_mtime_ns)

    def delete(self, key: str) -> None:
        path = self.path(key)
        with suppress(ObjectMissing), self._translate_errors(path, key):  # a folder is no object
            path.unlink(missing_ok=True)
            shutil.rmtree(_claim_of(path), ignore_errors=True)

    def path(self, key: str) -> Path:
        """Returns the path of an object.

        Raises:
            ConfigurationError: the key is none, or a symbolic link leads out of the folder.
        """
        try:
            return join(self._folder, key, within=self._within)
        except ValueError as error:
            raise ConfigurationError(f"{self.uri}: {error}: remove it, or use another folder") from error

    @contextmanager
    def _translate_errors(self, path: Path, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError) as error:
            if error.filename is not None and Path(error.filename) != path:
                raise
            raise ObjectMissing(key) from None
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "OSError")
            raise Transient(f"{self.uri}/{key}: {error.strerror or error} ({name}): {ADVICE}") from error


@contextmanager
def _temporary_file(target: Path) -> Iterator[Path]:
    """Yields a temporary name in a file's folder; flushes the folder once the file is in place."""
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        yield part
        flush(folder)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def _exclusive(target: Path) -> Iterator[None]:
    """Keeps other writers of an object out of a block, as far as the file system has locks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target.with_name(f"{_TEMPORARY}{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


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
