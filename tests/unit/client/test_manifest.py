"""A manifest for a client is a file, or a document that may leave out what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import builders

from llm2llm.client.manifest import document_of
from llm2llm.errors import InvalidManifest

WHOLE = {
    "apiVersion": "llm2llm.dev/v1alpha1",
    "kind": "AugmentationRun",
    "metadata": {"name": "a"},
    "spec": builders.spec(),
}


def test_a_file_and_a_document_are_the_same(tmp_path: Path):
    (tmp_path / "run.json").write_text(json.dumps(WHOLE))
    assert document_of(str(tmp_path / "run.json")) == document_of(tmp_path / "run.json") == document_of(WHOLE) == WHOLE
    assert document_of({"metadata": WHOLE["metadata"], "spec": WHOLE["spec"]}) == WHOLE


def test_a_file_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(InvalidManifest, match="no such file"):
        document_of(tmp_path / "none.yaml")
