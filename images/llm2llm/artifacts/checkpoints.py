"""Saves and restores the checkpoints of a training step in the store.

Each is an immutable folder of one pod, `checkpoints/<step>-<pod uid>/`, and counts only once its marker, written last,
is there. So a killed writer leaves nothing that a reader would take for a checkpoint, and two pods cannot mix their
files.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import Field, ValidationError

from llm2llm.artifacts.commit import upload
from llm2llm.artifacts.committed import FILES_AT_ONCE
from llm2llm.artifacts.keys import content_key, differing_fields, key_fields
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.layout import checkpoint_folder
from llm2llm.paths import join
from llm2llm.records import Record, StoredObject
from llm2llm.runtime.context import Step
from llm2llm.storage import ObjectMissing, Store

_MARKER = "marker.json"


class Marker(Record):
    """Lists the files of a complete checkpoint, and identifies the training that it belongs to."""

    version: int = 1
    content_key: str
    key_fields: dict[str, Any] = Field(default_factory=dict)
    step: int
    micro_batch: int
    objects: tuple[StoredObject, ...]


class Checkpoints:
    """The checkpoints of one step, read and written by one pod.

    Args:
        store: where they are stored.
        step: the step; a checkpoint with another content key is not continued.
        pod_uid: names this writer.
        keep: number of newest checkpoints that `save` keeps.
        on_upload: receives an event for each file that has been uploaded.
    """

    def __init__(
        self,
        store: Store,
        step: Step,
        *,
        pod_uid: str,
        keep: int,
        on_upload: Callable[[Mapping[str, object]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._folder = step.folder
        self._content_key = content_key(step)
        self._key_fields = key_fields(step)
        self._pod_uid = pod_uid
        self._keep = keep
        self._on_upload = on_upload

    def save(self, files: Path, *, step: int, micro_batch: int) -> None:
        """Uploads a folder as the checkpoint after `step` optimizer steps, then removes older ones."""
        folder = checkpoint_folder(self._folder, step, self._pod_uid)

        def upload_file(path: Path) -> StoredObject:
            name = path.relative_to(files).as_posix()
            stored = upload(self._store, f"{folder}/{name}", name, path)
            self._on_upload({"checkpoint": step, "uploaded": name, "bytes": stored.size})
            return stored

        with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
            objects = tuple(threads.map(upload_file, sorted(path for path in files.rglob("*") if path.is_file())))
        marker = Marker(
            content_key=self._content_key,
            key_fields=self._key_fields,
            step=step,
            micro_batch=micro_batch,
            objects=objects,
        )
        self._store.write(f"{folder}/{_MARKER}", marker.to_json().encode())
        for outdated in self._markers()[self._keep :]:
            self._remove(outdated)

    def restore(self, target: Path) -> Marker | None:
        """Copies the newest complete checkpoint into `target`; returns None if there is none.

        Raises:
            IncompatibleArtifacts: it belongs to another training.
        """
        for key in self._markers():
            marker = self._read(key)
            if marker is not None and self._download(marker, target):
                return marker
            shutil.rmtree(target, ignore_errors=True)  # files of a newer checkpoint that is damaged
        return None

    def clear(self) -> None:
        """Removes all checkpoints, once the step is committed."""
        for key in self._markers():
            self._remove(key)
        for key in list(self._store.list(f"{self._folder}/checkpoints/")):
            self._store.delete(key)

    def _markers(self) -> list[str]:
        """Returns the keys of the markers, newest first."""
        folder = f"{self._folder}/checkpoints/"
        pattern = re.compile(rf"{re.escape(folder)}([0-9]+)-[^/]+/{re.escape(_MARKER)}")  # checkpoint_folder()
        found = [(int(match[1]), match[0]) for match in map(pattern.fullmatch, self._store.list(folder)) if match]
        return [key for _, key in sorted(found, reverse=True)]

    def _read(self, key: str) -> Marker | None:
        try:
            marker = Marker.model_validate_json(self._store.read(key))
        except (ObjectMissing, ValidationError):
            return None
        if marker.content_key != self._content_key:
            differences = "; ".join(differing_fields(self._key_fields, marker.key_fields))
            raise IncompatibleArtifacts(
                f"{self._store.uri}/{key} belongs to a different training ({differences}): use another artifacts.key, "
                "or restore these fields"
            )
        return marker

    def _download(self, marker: Marker, target: Path) -> bool:
        """Downloads a checkpoint; returns False if another pod removed a part of it, or if it is damaged."""
        for entry in marker.objects:
            path = join(target, entry.name)
            try:
                self._store.download(entry.key, path)
            except ObjectMissing:
                return False
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                    return False
        return True

    def _remove(self, marker_key: str) -> None:
        """Removes a checkpoint, its marker first, so that a half-removed one does not count."""
        self._store.delete(marker_key)
        for key in self._within(marker_key.removesuffix(_MARKER)):
            self._store.delete(key)

    def _within(self, prefix: str) -> Iterator[str]:
        yield from list(self._store.list(prefix))


class Uploads:
    """Uploads checkpoints while the training continues: one after the other, in its own thread."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def save(self, files: Path, step: int, micro_batch: int) -> Future[None]:
        """Waits for the previous upload, then starts to upload a folder, which is removed afterwards.

        Returns:
            A future that is done when the checkpoint is in the store.

        Raises:
            StepError: the previous upload failed.
        """
        self.settle()
        self._under_way = self._thread.submit(self._save, files, step, micro_batch)
        return self._under_way

    def settle(self) -> None:
        """Waits until the current upload is in the store. Raises as `save`."""
        upload_in_progress, self._under_way = self._under_way, None
        if upload_in_progress:
            upload_in_progress.result()

    def _save(self, files: Path, step: int, micro_batch: int) -> None:
        self._checkpoints.save(files, step=step, micro_batch=micro_batch)
        shutil.rmtree(files)
