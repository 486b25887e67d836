"""Models in a folder of this machine, e.g. of a volume: what identifies their content, not read anew in every step.

The first step that looks at a model reads all of it; what it finds lies in the run's artifacts, with each file's size
and time of change. Later steps read what has changed since, which is nothing: they load the weights, and that is all.
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
    """A file as it was when it was read: its size in bytes, and when it was changed, in nanoseconds."""

    size: int
    changed: int
    sha256: str


class ModelFiles(Record):
    """By their paths in the model's folder."""

    files: dict[str, ModelFile]


def content_digest(folder: Path, store: Store | None) -> str:
    """A digest over names and contents of all files below a folder.

    Args:
        folder: a model's.
        store: keeps what was found before; None to read everything, which is also what follows if it cannot be used.
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


def _read(path: Path, before: ModelFile | None) -> ModelFile:
    """What was found before, where the file is still that one."""
    status = path.stat()
    size, changed = status.st_size, status.st_mtime_ns
    if before and (before.size, before.changed) == (size, changed):
        return before
    with path.open("rb") as file:
        return ModelFile(size=size, changed=changed, sha256=hashlib.file_digest(file, "sha256").hexdigest())
