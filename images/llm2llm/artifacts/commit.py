"""Committed outputs: how a step's result becomes visible, exactly once.

A step writes its objects under a folder of its own pod and then creates `manifest.json`, which exists or does not. So
a killed writer leaves nothing that a reader would believe, and of two pods of one step the first to create the manifest
wins while the other reports the winner's result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from llm2llm.errors import IncompatibleArtifacts
from llm2llm.layout import content_key, data_folder, differing_fields, key_fields, manifest_key, step_folder
from llm2llm.records import Manifest, Report, StepDocument, StoredObject, output_digest
from llm2llm.runtime.context import StepContext
from llm2llm.storage import ObjectMissing, Store

FILES_AT_ONCE = 8
"""Uploaded or downloaded beside each other: a model in parts has many, and each large one goes in parts of its own."""


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


def committed_manifest(store: Store, step: StepDocument) -> Manifest | None:
    """The manifest of this step, if its output is there already.

    Raises:
        IncompatibleArtifacts: something else is committed under this path; names the fields that differ.
    """
    folder = step_folder(step.stage, step.iteration)
    manifest = manifest_in(store, folder)
    if manifest is None or manifest.content_key == content_key(step):
        return manifest
    differences = "; ".join(differing_fields(key_fields(step), manifest.key_fields))
    raise IncompatibleArtifacts(
        f"{store.uri}/{manifest_key(folder)} belongs to another experiment ({differences}): "
        "choose another artifacts.key, or restore these fields"
    )


def commit(
    store: Store, step: StepDocument, context: StepContext, files: Mapping[str, bytes | Path], report: Report
) -> Report:
    """Uploads `files` (logical name to content), then creates the manifest.

    Returns:
        The report with its digest; if another pod committed first, the report of that one.
    """
    folder = step_folder(step.stage, step.iteration)
    with context.timed("upload"):
        target = data_folder(folder, context.pod_uid)
        with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
            objects = tuple(
                threads.map(lambda file: upload(store, f"{target}/{file[0]}", *file), sorted(files.items()))
            )
        report = report.model_copy(update={"digest": output_digest(objects)})
    manifest = Manifest(
        content_key=content_key(step),
        key_fields=key_fields(step),
        parents=step.parents,
        objects=objects,
        digest=report.digest,
        report=report.model_copy(update={"seconds": dict(context.seconds)}),
    )
    if store.create(manifest_key(folder), manifest.to_json().encode()):
        return manifest.report
    winner = committed_manifest(store, step)
    if winner is None:
        raise IncompatibleArtifacts(f"{store.uri}/{manifest_key(folder)} was removed while it was written")
    return winner.report


def parent_manifest(store: Store, step: StepDocument, folder: str) -> Manifest:
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
            f"{store.uri}/{manifest_key(folder)} has digest {manifest.digest}, this run committed {wanted}"
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
        raise IncompatibleArtifacts(f"{store.uri}/{entry.key} is missing, though its manifest names it") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise IncompatibleArtifacts(f"{store.uri}/{entry.key} is damaged: {len(data)} bytes, {entry.size} expected")
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
        raise IncompatibleArtifacts(f"{store.uri}/{entry.key} is missing, though its manifest names it") from None
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            found = path.stat().st_size
            raise IncompatibleArtifacts(f"{store.uri}/{entry.key} is damaged: {found} bytes, {entry.size} expected")


def upload(store: Store, key: str, name: str, content: bytes | Path) -> StoredObject:
    """Writes an object, from memory or from a file; what a manifest has to say of it."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = content.stat().st_size
        store.upload(key, content)
    else:
        sha256, size = hashlib.sha256(content).hexdigest(), len(content)
        store.write(key, content)
    return StoredObject(name=name, key=key, size=size, sha256=sha256)
