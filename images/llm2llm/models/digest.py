"""Identifies the content of a model in a local folder, e.g. of a volume, without reading it in every step.

The first step that needs a model reads all of it and stores the hashes in the run's artifacts, with each file's size
and modification time. Later steps read only files that have changed since, usually none.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from llm2llm.errors import StepError
from llm2llm.layout import model_files_key
from llm2llm.records import Record, digest_of
from llm2llm.storage.base import ObjectMissing, Store

_FILES_AT_ONCE = 8


class ModelFile(Record):
    """A file when it was read: its size in bytes, its modification time in nanoseconds, and its hash."""

    size: int
    changed: int
    sha256: str


class ModelFiles(Record):
    """Files by their paths in the model's folder."""

    files: dict[str, ModelFile]


def content_digest(folder: Path, store: Store | None) -> str:
    """Returns a digest of the names and contents of all files below a folder.

    Args:
        folder: a model's.
        store: keeps the hashes of earlier steps; None to read everything, which also happens if it cannot be used.
    """
    key = model_files_key(digest_of(str(folder)))
    known = _read_known(store, key) if store else {}
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        files = dict(zip(paths, threads.map(lambda name: _read(paths[name], known.get(name)), paths), strict=True))
    if store and files != known:
        with suppress(StepError):
            store.write(key, ModelFiles(files=files).to_json().encode())
    return digest_of({name: file.sha256 for name, file in files.items()})


def _read_known(store: Store, key: str) -> dict[str, ModelFile]:
    try:
        return ModelFiles.model_validate_json(store.read(key)).files
    except (ObjectMissing, ValidationError, StepError):
        return {}


def _read(path: Path, known: ModelFile | None) -> ModelFile:
    """Hashes a file, or returns the earlier hash if the file has not changed."""
    status = path.stat()
    size, changed = status.st_size, status.st_mtime_ns
    if known and (known.size, known.changed) == (size, changed):
        return known
    with path.open("rb") as file:
        return ModelFile(size=size, changed=changed, sha256=hashlib.file_digest(file, "sha256").hexdigest())
