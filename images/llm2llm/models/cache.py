"""Caches base models in a folder that many pods share (`spec.student.cache`), and checks each one before use.

A pod may die, or its node lose power, while it fills the folder. So a model is written next to its final place, flushed
to disk and renamed, with a list of its files. A folder that does not match its list is filled again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path

from llm2llm.records import Record, canonical_json
from llm2llm.storage.local import flush

LIST = "llm2llm-files.json"
"""Name of the file list in a model's folder: each file's size in bytes, sha256, modification time in nanoseconds, and
the user id that owns it. Lists of earlier releases lack the last two."""
_CHUNK = 16 * 1024 * 1024


class FileEntry(Record):
    """A file when the cache was filled: size in bytes, hash, modification time in nanoseconds, owner's user id."""

    size: int
    sha256: str
    changed: int | None = None
    owner: int | None = None


def invalid_reason(kept: Path) -> str:
    """Returns how a model's folder differs from its file list, or '' if it does not.

    Compares names, sizes, times and owners: hashing all weights takes longer than loading them (`llm2llm verify` does).
    """
    try:
        listed = _listed(kept)
        present = {path.relative_to(kept).as_posix(): path.stat(follow_symlinks=False) for path in _files(kept)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return f"its file list {LIST} cannot be read: {error}"
    for name in sorted(listed.keys() | present.keys() - {LIST}):
        if name not in present:
            return f"{name} is missing"
        if name not in listed:
            return f"{name} is not in its file list {LIST}"
        status, entry = present[name], listed[name]
        if status.st_size != entry.size:
            return f"{name} has {status.st_size} bytes, but its file list {LIST} says {entry.size}"
        if entry.changed is not None and (status.st_mtime_ns, status.st_uid) != (entry.changed, entry.owner):
            return f"{name} was written after the cache was filled, or by another user"
    return ""


def damage_reason(kept: Path) -> str:
    """Returns how a model's folder differs from its file list, with every file hashed, or '' if it does not."""
    reason = invalid_reason(kept)
    if reason:
        return reason
    for name, entry in _listed(kept).items():
        with (kept / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                return f"{name} has another sha256 than its file list {LIST} says"
    return ""


def _listed(kept: Path) -> dict[str, FileEntry]:
    return {name: FileEntry.model_validate(entry) for name, entry in json.loads((kept / LIST).read_bytes()).items()}


def keep(folder: Path, kept: Path) -> Path:
    """Copies a whole model into the cache atomically, whoever else does the same.

    Returns:
        The folder to read the model from: `folder` itself if the cache is full or cannot be written.
    """
    part = _sibling(kept, "part")
    try:
        _fill(folder, part)
        if invalid_reason(kept):  # otherwise another pod was first
            _replace(part, kept)
    except OSError:
        pass  # the fetched folder can be used as well
    shutil.rmtree(part, ignore_errors=True)
    return folder if invalid_reason(kept) else kept


def _fill(folder: Path, part: Path) -> None:
    part.mkdir(parents=True)
    listed = {}
    for source in _files(folder):
        name = source.relative_to(folder).as_posix()
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        listed[name] = _copy(source, part / name).model_dump(mode="json", exclude_none=True)
    with (part / LIST).open("wb") as file:
        file.write((canonical_json(listed) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    for directory in [part, *(path for path in part.rglob("*") if path.is_dir())]:
        flush(directory)


def _copy(source: Path, target: Path) -> FileEntry:
    """Copies a file to disk, flushed; returns its entry in the list."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as written:
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
    status = target.stat()
    return FileEntry(size=status.st_size, sha256=digest.hexdigest(), changed=status.st_mtime_ns, owner=status.st_uid)


def _replace(part: Path, kept: Path) -> None:
    old = _sibling(kept, "old")
    if kept.exists():
        kept.rename(old)
    part.rename(kept)
    flush(kept.parent)
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sibling(kept: Path, purpose: str) -> Path:
    return kept.with_name(f"{kept.name}.{secrets.token_hex(4)}.{purpose}")
