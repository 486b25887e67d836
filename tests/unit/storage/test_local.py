"""A folder as a store: what differs from a bucket. What is the same is in tests/integration/data_plane/test_stores.py."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm2llm.errors import ConfigurationError, Transient
from llm2llm.storage import LocalStore, ObjectMissing


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.write("ledger/pod-1/000000.jsonl", b"paid")
    scandir = os.scandir

    def stale(path: str) -> Any:
        if str(path).endswith("pod-1"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", stale)
    with pytest.raises(Transient, match="ledger/: Stale file handle"):
        list(store.list("ledger/"))


def test_fault_47_a_full_or_unwritable_disk_is_transient_and_leaves_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    store = LocalStore(blocked)

    with pytest.raises(Transient, match="check the disk's free space and permissions"):
        store.write("a/b", b"data")


def test_a_part_of_a_write_is_never_listed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".part-0123").write_bytes(b"half")

    assert list(LocalStore(tmp_path).list("")) == []


def test_a_write_that_fails_leaves_the_old_object_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.write("a", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Transient, match=r"/a: No space left on device \(ENOSPC\)"):
        store.write("a", b"new")
    assert store.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_not_there_is_not_taken_for_an_object_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        LocalStore(tmp_path).upload("a", tmp_path / "no-such-file")


def test_a_folder_is_no_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("a/b", b"")
    with pytest.raises(ObjectMissing):
        store.read("a")


def test_the_root_is_named_as_the_user_wrote_it(tmp_path: Path) -> None:
    assert LocalStore(tmp_path, "pvc://claim/runs/").uri == "pvc://claim/runs"
    assert LocalStore(tmp_path).uri == tmp_path.as_uri()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store, key: store.read(key), id="read"),
        pytest.param(lambda store, key: store.write(key, b""), id="write"),
        pytest.param(lambda store, key: store.create(key, b""), id="create"),
        pytest.param(lambda store, key: store.delete(key), id="delete"),
    ],
)
def test_what_the_file_system_refuses_is_transient(tmp_path: Path, call: Callable[[LocalStore, str], Any]) -> None:
    with pytest.raises(Transient, match="ENAMETOOLONG"):
        call(LocalStore(tmp_path), "x" * 300)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a\nb", "."])
def test_fault_55_a_key_that_leads_out_of_the_folder_is_neither_read_nor_written_nor_deleted(
    tmp_path: Path, key: str
) -> None:
    (tmp_path / "x").write_bytes(b"mine")
    (tmp_path / "source").write_bytes(b"theirs")
    store = LocalStore(tmp_path / "store")
    calls: list[Callable[[], object]] = [
        lambda: store.read(key),
        lambda: store.write(key, b"theirs"),
        lambda: store.create(key, b"theirs"),
        lambda: store.upload(key, tmp_path / "source"),
        lambda: store.download(key, tmp_path / "copy"),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match=r"store: .* is not a name of a file here"):
            call()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["source", "x"]
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_fault_55_a_link_out_of_the_folder_is_neither_read_nor_written_nor_deleted_through(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "x").write_bytes(b"mine")
    store = LocalStore(tmp_path / "store")
    store.write("a", b"ours")
    (tmp_path / "store" / "away").symlink_to(tmp_path / "home")
    calls: list[Callable[[], object]] = [
        lambda: store.read("away/x"),
        lambda: store.write("away/x", b"theirs"),
        lambda: store.create("away/y", b"theirs"),
        lambda: store.delete("away/x"),
        lambda: list(store.list("away/")),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match=r"'away.*' leads out of .*store through a symbolic link"):
            call()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["x"]
    assert list(store.list("")) == ["a"]


def test_names_that_are_no_keys_are_not_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("a", b"")
    (tmp_path / "b\n").write_bytes(b"")
    (tmp_path / "c\x1b[2J").write_bytes(b"")
    assert list(store.list("")) == ["a"]
    assert [key for key, _, _ in store.entries("")] == ["a"]


def test_a_folder_is_no_object_and_stays(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("a/b", b"x")
    store.delete("a")
    store.delete("none/there")
    assert store.read("a/b") == b"x"
    with pytest.raises(ObjectMissing):
        store.read("a")
