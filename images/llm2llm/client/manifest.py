"""Reads the manifest that a client gets: a file, or a document of the API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm2llm.api.run import API_VERSION, KIND
from llm2llm.client.runs import Manifest
from llm2llm.manifests.documents import read_documents


def document_of(manifest: Manifest) -> dict[str, Any]:
    """Returns the run in a manifest as a document of the API.

    A mapping may leave `apiVersion` and `kind` out.

    Raises:
        InvalidManifest: a file cannot be read, or has no run or several.
    """
    if isinstance(manifest, Mapping):
        return {"apiVersion": API_VERSION, "kind": KIND, **manifest}
    return dict(read_documents([Path(manifest)]).the_run())
