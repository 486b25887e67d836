"""Base models in a folder, as a volume is to a step: what identifies them, and how often they are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.integration.data_plane.bench import Bench
from tests.integration.data_plane.test_fetch import spec

from llm2llm.errors import IncompatibleArtifacts
from llm2llm.models.fetch import fetch_model, model_revision
from llm2llm.records import Stage
from llm2llm.step import run_step
from llm2llm.storage import LocalStore


def copied(student: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in student.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_the_revision_of_a_folder_is_that_of_its_content(student: Path, tmp_path: Path) -> None:
    copy = copied(student, tmp_path / "copy")
    first = model_revision(spec(student.as_uri()), {})

    assert model_revision(spec(copy.as_uri()), {}) == first
    (copy / "config.json").write_bytes(b"{}")
    assert model_revision(spec(copy.as_uri()), {}) != first


def replaced(path: Path, content: bytes, *, later: int) -> None:
    """Changes a file's content; `later` says by how many nanoseconds it is younger than before."""
    changed = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(changed, changed + later))


def test_files_of_a_volume_are_read_again_only_where_they_changed(student: Path, tmp_path: Path) -> None:
    base = copied(student, tmp_path / "base")
    weights = base / "model.safetensors"
    whole = weights.read_bytes()
    other = whole[:-1] + bytes([whole[-1] ^ 1])
    of, store = spec(base.as_uri()), LocalStore(tmp_path / "run")
    revision = model_revision(of, {}, store=store)
    assert revision == model_revision(of, {})

    replaced(weights, other, later=0)  # nobody looks into a file of the same size and time
    assert fetch_model(of, revision, {}, tmp_path, store=store) == base
    replaced(weights, other, later=1)
    with pytest.raises(IncompatibleArtifacts, match="has changed since the run started"):
        fetch_model(of, revision, {}, tmp_path, store=store)
    replaced(weights, whole, later=1)
    assert fetch_model(of, revision, {}, tmp_path, store=store) == base
    (base / "one.more").write_bytes(b"")
    with pytest.raises(IncompatibleArtifacts, match="has changed since the run started"):
        fetch_model(of, revision, {}, tmp_path, store=store)


@pytest.mark.parametrize("found", [b"", b"[]", b'{"files": {"config.json": 1}}'])
def test_what_is_known_of_a_volume_is_a_cache_and_nothing_else(found: bytes, student: Path, tmp_path: Path) -> None:
    of, store = spec(student.as_uri()), LocalStore(tmp_path / "run")
    revision = model_revision(of, {}, store=store)
    (known,) = store.list("cache/models/")
    store.write(known, found)

    assert model_revision(of, {}, store=store) == revision
    assert len(json.loads(store.read(known))["files"]) == len(list(student.iterdir()))


def test_a_run_reads_the_base_model_of_a_volume_once_and_then_only_loads_it(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, student)
    read: list[str] = []
    opened = Path.open

    def watched(path: Path, *given: Any, **more: Any) -> Any:
        if path.parent == student and path.suffix == ".safetensors":
            read.append(path.name)
        return opened(path, *given, **more)

    monkeypatch.setattr(Path, "open", watched)
    run, store = bench.run("run")
    assert read == ["model.safetensors"] * 2  # all of it once, and its header
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        run.add(run_step(run.step(stage), store, bench.context()))
    assert read == ["model.safetensors"] * 2
