"""Reads committed outputs: manifests and the objects that they list, verified whenever they are read."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from llm2llm.artifacts.keys import content_key, differing_fields, key_fields
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.layout import manifest_key
from llm2llm.paths import join
from llm2llm.records import Manifest, StoredObject
from llm2llm.runtime.context import Step
from llm2llm.storage import ObjectMissing, Store


def manifest_in(store: Store, folder: str) -> Manifest | None:
    """Returns the manifest of a step's folder, whatever its content key; None if nothing is committed.

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
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        words = problem["msg"].removeprefix("Value error, ")
        raise IncompatibleArtifacts(
            f"{store.uri}/{manifest_key(folder)} cannot be read: {f'{place}: ' if place else ''}{words}"
        ) from error


def committed_manifest(store: Store, step: Step) -> Manifest | None:
    """Returns the manifest of this step, or None if its output is not committed yet.

    Raises:
        IncompatibleArtifacts: something else is committed under this path; the message names the fields that differ.
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
    """Returns the manifest in `folder`, which must be the one that the step document names.

    Raises:
        IncompatibleArtifacts: it is missing, or its digest differs.
    """
    manifest = manifest_in(store, folder)
    digest = step.parents.get(folder)
    if manifest is None:
        raise IncompatibleArtifacts(f"{store.uri}/{manifest_key(folder)} is missing: was the artifact folder emptied?")
    if manifest.digest != digest:
        raise IncompatibleArtifacts(
            f"{store.uri}/{manifest_key(folder)} has digest {manifest.digest}, but this run committed {digest}"
        )
    return manifest


def read_object(store: Store, manifest: Manifest, name: str) -> bytes:
    """Returns the content of one output of a committed step, verified against the manifest.

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
    """Downloads the outputs whose names begin with `prefix` into `target`, in parallel, verified; returns target."""
    entries = [entry for entry in manifest.objects if entry.name.startswith(prefix)]

    def fetch(entry: StoredObject) -> None:
        path = join(target, entry.name.removeprefix(prefix).lstrip("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(store, entry, path)

    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        for _ in threads.map(fetch, entries):
            pass  # re-raises the error of a download
    return target


def _download(store: Store, entry: StoredObject, path: Path) -> None:
    """Does the same as read_object without holding the object in memory: part of a whole model has gigabytes."""
    try:
        store.download(entry.key, path)
    except ObjectMissing:
        raise IncompatibleArtifacts(f"{store.uri}/{entry.key} is missing, although its manifest lists it") from None
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            size = path.stat().st_size
            raise IncompatibleArtifacts(
                f"{store.uri}/{entry.key} is damaged: {size} bytes, {entry.size} expected; its sha256 is not the one "
                "in its manifest"
            )


FILES_AT_ONCE = 8
"""Parallel uploads or downloads: a sharded model has many files, and each large one is transferred in parts as well."""
