"""`spec.student.cache`: base models in a folder that many pods share, each written once and looked at before each use.

A pod may die, or its node lose power, while it fills the folder. So a model is written beside its place, flushed to the
disk and renamed, with a list of its files: a folder that does not hold what its list says is filled anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path

from llm2llm.records import canonical_json
from llm2llm.storage.local import flush

LIST = "llm2llm-files.json"
"""Name of a model's list in its folder: each file's size in bytes and sha256."""
_CHUNK = 16 * 1024 * 1024


def invalid_reason(kept: Path) -> str:
    """What a model's folder lacks of its list, '' if nothing.

    Names and sizes only: whoever reads all weights to hash them waits longer than to load them.
    """
    try:
        listed = {name: entry["size"] for name, entry in json.loads((kept / LIST).read_bytes()).items()}
        there = {path.relative_to(kept).as_posix(): path.stat().st_size for path in _files(kept)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"its file list {LIST} cannot be read: {error}"
    for name in sorted(listed.keys() | there.keys() - {LIST}):
        if name not in there:
            return f"{name} is missing"
        if name not in listed:
            return f"{name} is not in its file list {LIST}"
        if there[name] != listed[name]:
            return f"{name} has {there[name]} bytes, but its file list {LIST} says {listed[name]}"
    return ""


def keep(folder: Path, kept: Path) -> Path:
    """Copies a whole model to its place in the cache: it is there at once or not at all, whoever else does the same.

    Returns:
        Where the model is to be read: `folder` where the cache is full or cannot be written.
    """
    part = _beside(kept, "part")
    try:
        _fill(folder, part)
        if invalid_reason(kept):  # else another pod was first
            _replace(part, kept)
    except OSError:
        pass  # what was fetched serves as well
    shutil.rmtree(part, ignore_errors=True)
    return folder if invalid_reason(kept) else kept


def _fill(folder: Path, part: Path) -> None:
    part.mkdir(parents=True)
    listed = {}
    for source in _files(folder):
        name = source.relative_to(folder).as_posix()
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        listed[name] = _copy(source, part / name)
    with (part / LIST).open("wb") as file:
        file.write((canonical_json(listed) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    for directory in [part, *(path for path in part.rglob("*") if path.is_dir())]:
        flush(directory)


def _copy(source: Path, target: Path) -> dict[str, int | str]:
    """Size and sha256 of what is on the disk when this returns."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as written:
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
        return {"size": written.tell(), "sha256": digest.hexdigest()}


def _replace(part: Path, kept: Path) -> None:
    old = _beside(kept, "old")
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


def _beside(kept: Path, purpose: str) -> Path:
    return kept.with_name(f"{kept.name}.{secrets.token_hex(4)}.{purpose}")
