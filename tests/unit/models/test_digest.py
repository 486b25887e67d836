"""What identifies the files of a model in a folder, and what is read of them again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from llm2llm.errors import Transient
from llm2llm.models.digest import content_digest
from llm2llm.storage import LocalStore


def model(folder: Path, **files: str) -> Path:
    for name, content in ({"config.json": "{}", "weights": "numbers"} | files).items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"weights": "Numbers"}, id="other content of the same size"),
        pytest.param({"sub__weights": "numbers"}, id="a file more, in a folder"),
        pytest.param({"config.json": "numbers", "weights": "{}"}, id="the contents of two files exchanged"),
        pytest.param({"empty": ""}, id="an empty file more"),
    ],
)
def test_names_and_contents_of_all_files_are_the_model(tmp_path: Path, files: dict[str, str]) -> None:
    digest = content_digest(model(tmp_path / "a"), None)
    assert content_digest(model(tmp_path / "elsewhere" / "b"), None) == digest
    assert content_digest(model(tmp_path / "c", **files), None) != digest


def test_two_folders_of_a_run_are_known_apart(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "run")
    student, teacher = model(tmp_path / "student"), model(tmp_path / "teacher", weights="others!")
    for path in (student / "weights", teacher / "weights"):
        os.utime(path, ns=(0, 0))
    digests = [content_digest(folder, store) for folder in (student, teacher)]

    assert digests[0] != digests[1]
    assert [content_digest(folder, store) for folder in (student, teacher)] == digests
    assert len(list(store.list("cache/models/"))) == 2


def test_a_file_that_is_gone_is_no_longer_known(tmp_path: Path) -> None:
    store, folder = LocalStore(tmp_path / "run"), model(tmp_path / "model", more="more")
    content_digest(folder, store)
    (folder / "more").unlink()

    assert content_digest(folder, store) == content_digest(folder, None)
    (known,) = store.list("cache/models/")
    assert json.loads(store.read(known))["files"].keys() == {"config.json", "weights"}


def test_a_store_that_takes_and_gives_nothing_costs_only_time(tmp_path: Path) -> None:
    class Away(LocalStore):
        def read(self, key: str) -> bytes:
            raise Transient(f"{key}: the store cannot be reached")

        def write(self, key: str, data: bytes) -> None:  # noqa: ARG002
            raise Transient(f"{key}: the store cannot be reached")

    folder = model(tmp_path / "model")
    assert content_digest(folder, Away(tmp_path / "run")) == content_digest(folder, None)


def test_what_is_known_already_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, folder = LocalStore(tmp_path / "run"), model(tmp_path / "model")
    digest = content_digest(folder, store)
    written: list[Any] = []
    monkeypatch.setattr(store, "write", lambda *given: written.append(given))

    assert content_digest(folder, store) == digest
    assert written == []
    (folder / "weights").write_text("other numbers")
    content_digest(folder, store)
    assert len(written) == 1
