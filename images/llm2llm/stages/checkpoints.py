"""Checkpoints of a training step in the store.

Each is an immutable folder of one pod, `checkpoints/<step>-<pod uid>/`, and counts only once its marker, written last,
is there: so a killed writer leaves nothing that a reader would believe, and two pods cannot mix their files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from llm2llm.errors import IncompatibleArtifacts
from llm2llm.layout import checkpoint_folder
from llm2llm.records import Record, StoredObject
from llm2llm.storage import ObjectMissing, Store

_MARKER = "marker.json"


class Marker(Record):
    """What a whole checkpoint holds, and which training it belongs to."""

    version: int = 1
    content_key: str
    step: int
    micro_batch: int
    objects: tuple[StoredObject, ...]


class Checkpoints:
    """The checkpoints of one step, read and written by one pod.

    Args:
        store: where they lie.
        folder: the step's folder.
        content_key: of the step; a checkpoint with another key is not continued.
        pod_uid: names this writer.
        keep: newest checkpoints that `save` leaves.
    """

    def __init__(self, store: Store, folder: str, *, content_key: str, pod_uid: str, keep: int) -> None:
        self._store = store
        self._folder = folder
        self._content_key = content_key
        self._pod_uid = pod_uid
        self._keep = keep

    def save(self, files: Path, *, step: int, micro_batch: int) -> None:
        """Uploads a folder as the checkpoint after `step` optimizer steps, then removes older ones."""
        folder = checkpoint_folder(self._folder, step, self._pod_uid)
        objects = []
        for path in sorted(path for path in files.rglob("*") if path.is_file()):
            name = path.relative_to(files).as_posix()
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self._store.upload(f"{folder}/{name}", path)
            objects.append(StoredObject(name=name, key=f"{folder}/{name}", size=path.stat().st_size, sha256=sha256))
        marker = Marker(content_key=self._content_key, step=step, micro_batch=micro_batch, objects=tuple(objects))
        self._store.write(f"{folder}/{_MARKER}", marker.to_json().encode())
        for outdated in self._markers()[self._keep :]:
            self._remove(outdated)

    def restore(self, target: Path) -> Marker | None:
        """Copies the newest whole checkpoint into `target`; None where there is none.

        Raises:
            IncompatibleArtifacts: it belongs to another training.
        """
        for key in self._markers():
            marker = self._read(key)
            if marker is not None and self._download(marker, target):
                return marker
        return None

    def clear(self) -> None:
        """Removes all checkpoints, once the step is committed."""
        for key in self._markers():
            self._remove(key)
        for key in list(self._store.list(f"{self._folder}/checkpoints/")):
            self._store.delete(key)

    def _markers(self) -> list[str]:
        """Keys of the markers, newest first: the step comes first in a folder's name, with leading zeros."""
        found = self._store.list(f"{self._folder}/checkpoints/")
        return sorted((key for key in found if key.endswith(f"/{_MARKER}")), reverse=True)

    def _read(self, key: str) -> Marker | None:
        try:
            marker = Marker.model_validate_json(self._store.read(key))
        except (ObjectMissing, ValidationError):
            return None
        if marker.content_key != self._content_key:
            raise IncompatibleArtifacts(
                f"{self._store.uri}/{key} belongs to another training ({marker.content_key}, here "
                f"{self._content_key}): choose another artifacts.key, or restore the fields of spec.train"
            )
        return marker

    def _download(self, marker: Marker, target: Path) -> bool:
        """False if another pod removed a part of it, or it is damaged: an older one then has to do."""
        for entry in marker.objects:
            path = target / entry.name
            try:
                self._store.download(entry.key, path)
            except ObjectMissing:
                return False
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                    return False
        return True

    def _remove(self, marker_key: str) -> None:
        """The marker goes first, so that a half removed checkpoint is none."""
        self._store.delete(marker_key)
        for key in self._within(marker_key.removesuffix(_MARKER)):
            self._store.delete(key)

    def _within(self, prefix: str) -> Iterator[str]:
        yield from list(self._store.list(prefix))
