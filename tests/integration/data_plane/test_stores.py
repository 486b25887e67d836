"""One behavior, two stores: a local folder and a real S3 server."""

from __future__ import annotations

import errno
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.cluster.s3 import S3Server

from llm2llm.api.data import Artifacts
from llm2llm.errors import ConfigurationError
from llm2llm.stages.prepare import verify_conditional_put
from llm2llm.storage import LocalStore, ObjectMissing, Store, open_store, read_source
from llm2llm.storage.s3 import PART

ARTIFACTS = Artifacts(uri="s3://bucket/runs")


def artifacts(endpoint: str) -> Artifacts:
    return Artifacts.model_validate(
        {
            "uri": "s3://bucket/runs",
            "endpoint": endpoint,
            "pathStyle": True,
            "credentialsSecretRef": {"name": "s3-keys"},
        }
    )


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, prefix: str) -> Store:
    if request.param == "local":
        return open_store(f"{tmp_path.as_uri()}/folder/", ARTIFACTS, {})
    return open_store(f"s3://bucket/{prefix}/", artifacts(s3.endpoint), s3.environment)


def test_what_is_written_is_read_and_replaced(store: Store) -> None:
    store.write("a/b.json", b"one")
    store.write("a/b.json", b"two")

    assert store.read("a/b.json") == b"two"
    assert not store.uri.endswith("/")


def test_what_is_missing_is_said_to_be_missing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        store.read("a/none")
    with pytest.raises(ObjectMissing):
        store.download("a/none", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    store.delete("a/none")
    assert list(store.list("a/")) == []


def test_create_has_one_winner_and_never_replaces(store: Store) -> None:
    barrier = threading.Barrier(8)

    def contend(writer: int) -> bool:
        barrier.wait()
        return store.create("inputs/manifest.json", str(writer).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(contend, range(8)))

    assert sum(won) == 1
    assert store.read("inputs/manifest.json") == str(won.index(True)).encode()
    assert store.create("inputs/manifest.json", b"late") is False


def test_replace_has_one_winner_for_each_tag(store: Store) -> None:
    store.write("run.lock", b"first")
    data, tag = store.read_tagged("run.lock")
    assert data == b"first"
    barrier = threading.Barrier(8)

    def contend(writer: int) -> bool:
        barrier.wait()
        return store.replace("run.lock", str(writer).encode(), tag)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(contend, range(8)))

    assert sum(won) == 1
    assert store.read("run.lock") == str(won.index(True)).encode()
    assert store.replace("run.lock", b"late", tag) is False
    assert store.replace("run.lock", b"next", store.read_tagged("run.lock")[1]) is True
    assert store.read("run.lock") == b"next"
    assert list(store.list("")) == ["run.lock"]


def test_what_is_missing_cannot_be_replaced(store: Store) -> None:
    store.write("run.lock", b"first")
    tag = store.read_tagged("run.lock")[1]
    store.delete("run.lock")

    assert store.replace("run.lock", b"second", tag) is False
    with pytest.raises(ObjectMissing):
        store.read_tagged("run.lock")


@pytest.fixture
def unlinked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder of a file system without hard links, as a share of Azure Files."""

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    return open_store((tmp_path / "share").as_uri(), ARTIFACTS, {})


def test_without_hard_links_create_has_one_winner_too(unlinked: Store) -> None:
    for _ in range(20):
        test_create_has_one_winner_and_never_replaces(unlinked)
        assert list(unlinked.list("")) == ["inputs/manifest.json"]
        unlinked.delete("inputs/manifest.json")


def test_fault_46_a_create_that_is_killed_without_hard_links_is_finished_by_the_next(
    unlinked: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if Path(target).name == "manifest.json":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        unlinked.create("inputs/manifest.json", b"first")
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ObjectMissing):
        unlinked.read("inputs/manifest.json")
    assert unlinked.create("inputs/manifest.json", b"second") is False
    assert unlinked.read("inputs/manifest.json") == b"first"
    assert list(unlinked.list("")) == ["inputs/manifest.json"]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 40 * 1024 * 1024])
def test_files_of_any_number_of_parts_come_and_go_whole(store: Store, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_bytes(random.Random(size).randbytes(size))
    store.upload("adapter/big.bin", source)
    store.download("adapter/big.bin", target)

    assert target.read_bytes() == source.read_bytes()


def test_keys_are_listed_in_lexical_order_below_their_prefix(store: Store) -> None:
    for key in ("a/2", "a/10", "a/1/x", "ab", "b"):
        store.write(key, b"")

    assert list(store.list("a/")) == ["a/1/x", "a/10", "a/2"]
    assert list(store.list("a")) == ["a/1/x", "a/10", "a/2", "ab"]
    assert list(store.list("")) == ["a/1/x", "a/10", "a/2", "ab", "b"]


def test_a_deleted_object_is_gone(store: Store) -> None:
    store.write("x", b"1")
    store.delete("x")

    assert list(store.list("")) == []


def test_a_source_is_read_from_either_place(s3: S3Server, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "seed.jsonl").write_bytes(b"local")
    open_store(f"s3://bucket/{prefix}", artifacts(s3.endpoint), s3.environment).write("seed.jsonl", b"remote")

    assert read_source((tmp_path / "seed.jsonl").as_uri(), ARTIFACTS, {}) == b"local"
    remote = read_source(f"s3://bucket/{prefix}/seed.jsonl", artifacts(s3.endpoint), s3.environment)
    assert remote == b"remote"


def test_a_store_that_ignores_conditions_is_refused(tmp_path: Path) -> None:
    class Careless(LocalStore):
        def create(self, key: str, data: bytes) -> bool:
            self.write(key, data)
            return True

    with pytest.raises(ConfigurationError, match="If-None-Match"):
        verify_conditional_put(Careless(tmp_path))
