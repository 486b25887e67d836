"""Where a set's file is read from, and what identifies its content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.data import sources
from llm2llm.data.sources import digest_of_content, read_content
from llm2llm.errors import DataError

SPEC = AugmentationRunSpec.model_validate(builders.spec())


def test_a_file_is_read_from_its_folder_and_one_of_the_hub_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "seed.jsonl"
    file.write_bytes(b"rows")
    monkeypatch.setattr(sources, "read_dataset_file", lambda uri, _: uri.encode())
    assert read_content("seed", file.as_uri(), SPEC.data.seed, SPEC, {}) == b"rows"
    assert read_content("seed", "hf://o/d/seed.jsonl", SPEC.data.seed, SPEC, {}) == b"hf://o/d/seed.jsonl"
    with pytest.raises(DataError, match=r"none\.jsonl does not exist"):
        read_content("seed", (tmp_path / "none.jsonl").as_uri(), SPEC.data.seed, SPEC, {})


def test_a_content_is_identified_by_its_bytes_and_not_by_its_time(tmp_path: Path) -> None:
    file = tmp_path / "seed.jsonl"
    file.write_bytes(b"rows")
    before = digest_of_content(file.read_bytes())
    os.utime(file, (1, 1))
    assert digest_of_content(file.read_bytes()) == before
    assert digest_of_content(b"rows\n") != before
