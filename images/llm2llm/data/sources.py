"""Reads the files that a run's rows come from, and identifies their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from llm2llm.api.data import HeldOutSource, Source
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.models.fetch import read_dataset_file
from llm2llm.storage import read_source
from llm2llm.storage.access import access_of, environment_of, has_own


def read_content(
    name: str, uri: str, source: Source | HeldOutSource, spec: AugmentationRunSpec, environ: Mapping[str, str]
) -> bytes:
    """Returns the content of the file of a dataset (seed, evaluation or test).

    Raises:
        DataError: there is no such file.
        StepError: it cannot be read.
    """
    if uri.startswith("hf://"):
        return read_dataset_file(uri, environ)
    return read_source(
        uri,
        access_of(source, spec.artifacts),
        environment_of(name, source, spec.artifacts, environ),
        field=f"spec.data.{name}" if has_own(source) else "spec.artifacts",
    )


def digest_of_content(content: bytes) -> str:
    """Returns what identifies a file's content: not its time, which copying and touching change."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
