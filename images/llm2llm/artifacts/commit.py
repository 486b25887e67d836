"""Makes a step's output visible, exactly once.

A step uploads its objects to a folder of its own pod and then creates `manifest.json` atomically. So a killed writer
leaves nothing that a reader would take for output. If two pods run the same step, the first to create the manifest
wins, and the other one reports the winner's result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llm2llm.artifacts.committed import FILES_AT_ONCE, committed_manifest
from llm2llm.artifacts.keys import content_key, key_fields
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.layout import data_folder, manifest_key
from llm2llm.records import Manifest, Report, StoredObject, output_digest
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import Store


def commit(store: Store, step: Step, context: StepContext, files: Mapping[str, bytes | Path], report: Report) -> Report:
    """Uploads `files` (logical name to content), then creates the manifest.

    Returns:
        The report with its digest; if another pod committed first, that pod's report.
    """
    folder = step.folder
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
        raise IncompatibleArtifacts(f"{store.uri}/{manifest_key(folder)} was removed while it was being written")
    return winner.report


def upload(store: Store, key: str, name: str, content: bytes | Path) -> StoredObject:
    """Uploads an object, from memory or from a file; returns its entry for a manifest."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = content.stat().st_size
        store.upload(key, content)
    else:
        sha256, size = hashlib.sha256(content).hexdigest(), len(content)
        store.write(key, content)
    return StoredObject(name=name, key=key, size=size, sha256=sha256)
