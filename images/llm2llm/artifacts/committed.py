"""What is committed: manifests and the objects that they name, checked whenever they are read."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from llm2llm.artifacts.keys import content_key, differing_fields, key_fields
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.layout import manifest_key
from llm2llm.records import Manifest, StoredObject
from llm2llm.runtime.context import Step
from llm2llm.storage import ObjectMissing, Store


def manifest_in(store: Store, folder: str) -> Manifest | None:
    """The manifest of what is committed in a step's folder, whatever its content key; None if nothing is.

    Raises:
        IncompatibleArtifacts: it cannot be read.
    """
    try:
        data = store.read(manifest_key(folder))
    except ObjectMissing:
        return None
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise IncompatibleArtifacts(f"{store.uri}/{manifest_key(folder)} cannot be read: {error}") from error


def committed_manifest(store: Store, step: Step) -> Manifest | None:
    """The manifest of this step, if its output is there already.

    Raises:
        IncompatibleArtifacts: something else is committed under this path; names the fields that differ.
    """
    folder = step.folder
    manifest = manifest_in(store, folder)
    if manifest is None or manifest.content_key == content_key(step):
        return manifest
    differences = "; ".join(differing_fields(key_fields(step), manifest.key_fields))
    raise IncompatibleArtifacts(
        f"{store.uri}/{manifest_key(folder)} belongs to a different experiment ({differences}): use another "
        "artifacts.key, or restore these fields"
    )


def parent_manifest(store: Store, step: Step, folder: str) -> Manifest:
    """The committed output in `folder`, which must be the very one that the step document names.

    Raises:
        IncompatibleArtifacts: it is missing, or its digest is another one.
    """
    manifest = manifest_in(store, folder)
    wanted = step.parents.get(folder)
    if manifest is None:
        raise IncompatibleArtifacts(f"{store.uri}/{manifest_key(folder)} is missing: was the artifact folder emptied?")
    if manifest.digest != wanted:
        raise IncompatibleArtifacts(
            f"{store.uri}/{manifest_key(folder)} has digest {manifest.digest}, but this run committed {wanted}"
        )
    return manifest


def read_object(store: Store, manifest: Manifest, name: str) -> bytes:
    """The content of one output of a committed step, checked against the manifest.

    Raises:
        IncompatibleArtifacts: the object is missing, truncated or changed.
    """
    entry = manifest.object_named(name)
    try:
        data = store.read(entry.key)
    except ObjectMissing:
        raise IncompatibleArtifacts(f"{store.uri}/{entry.key} is missing, although its manifest lists it") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise IncompatibleArtifacts(
            f"{store.uri}/{entry.key} is damaged: {len(data)} bytes, {entry.size} expected; its sha256 is not the one "
            "in its manifest"
        )
    return data


def download_folder(store: Store, manifest: Manifest, prefix: str, target: Path) -> Path:
    """Copies the outputs whose names begin with `prefix` into `target`, several at once, checked; returns target."""
    wanted = [entry for entry in manifest.objects if entry.name.startswith(prefix)]

    def fetch(entry: StoredObject) -> None:
        path = target / entry.name.removeprefix(prefix).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(store, entry, path)

    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        for _ in threads.map(fetch, wanted):
            pass  # raises what a download raised
    return target


def _download(store: Store, entry: StoredObject, path: Path) -> None:
    """As read_object, but without holding it in memory: a part of a whole model has gigabytes."""
    try:
        store.download(entry.key, path)
    except ObjectMissing:
        raise IncompatibleArtifacts(f"{store.uri}/{entry.key} is missing, although its manifest lists it") from None
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            found = path.stat().st_size
            raise IncompatibleArtifacts(
                f"{store.uri}/{entry.key} is damaged: {found} bytes, {entry.size} expected; its sha256 is not the one "
                "in its manifest"
            )


FILES_AT_ONCE = 8
"""Uploaded or downloaded beside each other: a model in parts has many, and each large one goes in parts of its own."""
