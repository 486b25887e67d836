"""The folder of base models that pods share: what is in it is whole, or it is not used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from llm2llm.models import cache
from llm2llm.models.cache import LIST, damage_reason, invalid_reason, keep


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A fetched model of two files, one of them in a folder."""
    folder = tmp_path / "fetched"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer" / "vocab.txt").write_text("words")
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_is_kept_whole_with_a_list_of_its_files_and_nothing_beside_it(model: Path, tmp_path: Path):
    kept = tmp_path / "cache" / "model"
    kept.parent.mkdir()
    assert keep(model, kept) == kept
    assert invalid_reason(kept) == ""
    assert names(kept) == {*names(model), LIST}
    assert json.loads((kept / LIST).read_text())["tokenizer/vocab.txt"]["size"] == 5
    assert [path.name for path in kept.parent.iterdir()] == ["model"]


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file is gone": (lambda kept: (kept / "config.json").unlink(), "config.json is missing"),
    "a file came": (lambda kept: (kept / "more.bin").write_text("x"), "more.bin is not in its file list"),
    "a file is cut": (
        lambda kept: (kept / "tokenizer" / "vocab.txt").write_text("w"),
        "tokenizer/vocab.txt has 1 bytes, but its file list llm2llm-files.json says 5",
    ),
    "the list is cut": (lambda kept: (kept / LIST).write_text("{"), "cannot be read"),
    "the list is another document": (lambda kept: (kept / LIST).write_text('{"config.json": 2}'), "cannot be read"),
    "there is no list": (lambda kept: (kept / LIST).unlink(), "cannot be read"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_was_damaged_is_noticed_and_filled_again(model: Path, tmp_path: Path, change: str):
    kept = keep(model, tmp_path / "model")
    damage, words = CHANGES[change]
    damage(kept)
    assert words in invalid_reason(kept)
    assert keep(model, kept) == kept
    assert invalid_reason(kept) == ""


def test_a_file_in_the_place_of_the_folder_is_replaced(model: Path, tmp_path: Path):
    (tmp_path / "model").write_text("left by somebody")
    assert invalid_reason(keep(model, tmp_path / "model")) == ""


def test_what_another_pod_has_filled_meanwhile_is_left_as_it_is(model: Path, tmp_path: Path):
    kept = keep(model, tmp_path / "model")
    before = (kept / "config.json").stat().st_ino
    assert keep(model, kept) == kept
    assert (kept / "config.json").stat().st_ino == before


def test_a_cache_that_cannot_be_written_costs_only_itself(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_copy", full)
    assert keep(model, tmp_path / "model") == model
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fetched"]


def touched(path: Path) -> None:
    """Writes other content of the same size, as somebody who has the folder, too, could."""
    path.write_text("swaps")


def test_fault_56_a_file_that_was_exchanged_for_one_of_its_size_is_noticed_and_filled_again(
    model: Path, tmp_path: Path
):
    kept = keep(model, tmp_path / "model")
    touched(kept / "tokenizer/vocab.txt")
    assert invalid_reason(kept) == "tokenizer/vocab.txt was written after the cache was filled, or by another user"
    assert keep(model, kept) == kept
    assert (kept / "tokenizer/vocab.txt").read_text() == "words"


def test_a_file_of_another_owner_is_noticed(model: Path, tmp_path: Path):
    kept = keep(model, tmp_path / "model")
    listed = json.loads((kept / LIST).read_text())
    listed["config.json"]["owner"] += 1
    (kept / LIST).write_text(json.dumps(listed))
    assert "config.json was written after the cache was filled, or by another user" in invalid_reason(kept)


def test_a_link_in_the_place_of_a_file_is_noticed(model: Path, tmp_path: Path):
    kept = keep(model, tmp_path / "model")
    (tmp_path / "vocab").write_text("swaps")
    (kept / "tokenizer/vocab.txt").unlink()
    (kept / "tokenizer/vocab.txt").symlink_to(tmp_path / "vocab")
    assert invalid_reason(kept)


def test_a_list_of_an_earlier_release_holds_and_one_of_a_later_release_does(model: Path, tmp_path: Path):
    kept = keep(model, tmp_path / "model")
    listed = json.loads((kept / LIST).read_text())
    older = {name: {"size": entry["size"], "sha256": entry["sha256"]} for name, entry in listed.items()}
    (kept / LIST).write_text(json.dumps(older))
    assert invalid_reason(kept) == ""
    (kept / LIST).write_text(json.dumps({name: entry | {"blake3": "x"} for name, entry in listed.items()}))
    assert invalid_reason(kept) == ""


def test_whoever_set_the_time_back_is_found_by_hashing_everything(model: Path, tmp_path: Path):
    kept = keep(model, tmp_path / "model")
    assert damage_reason(kept) == ""
    path = kept / "tokenizer/vocab.txt"
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    touched(path)
    os.utime(path, ns=times)
    assert invalid_reason(kept) == ""
    assert damage_reason(kept) == "tokenizer/vocab.txt has another sha256 than its file list llm2llm-files.json says"
    path.unlink()
    assert damage_reason(kept) == "tokenizer/vocab.txt is missing"
