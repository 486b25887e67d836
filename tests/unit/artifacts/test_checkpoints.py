"""Checkpoints in the store: which one a training goes on from, and what is left of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.steps import step_of

from llm2llm.artifacts.checkpoints import Checkpoints, Uploads
from llm2llm.errors import IncompatibleArtifacts, Transient
from llm2llm.records import Stage
from llm2llm.storage import LocalStore

FOLDER = "iterations/000/train/checkpoints"


def checkpoints(store: LocalStore, pod_uid: str = "pod-a", keep: int = 2, **changes: Any) -> Checkpoints:
    return Checkpoints(store, step_of(Stage.TRAIN, **changes), pod_uid=pod_uid, keep=keep)


def files(folder: Path, content: str = "weights") -> Path:
    """What the trainer wrote."""
    (folder / "state").mkdir(parents=True)
    (folder / "weights.bin").write_text(content)
    (folder / "state" / "optimizer.bin").write_text("moments")
    return folder


def save(store: LocalStore, folder: Path, *steps: int, pod_uid: str = "pod-a", keep: int = 2) -> None:
    """Saves checkpoints whose weights name their step."""
    for step in steps:
        written = files(folder / f"{pod_uid}-{step}", f"weights {step}")
        checkpoints(store, pod_uid, keep).save(written, step=step, micro_batch=4)


def steps_in(store: LocalStore) -> list[str]:
    return sorted({key.removeprefix(f"{FOLDER}/").partition("/")[0] for key in store.list(FOLDER)})


def restored(store: LocalStore, target: Path) -> tuple[int, str] | None:
    """The step that a training goes on from, and its weights."""
    marker = checkpoints(store, "pod-b").restore(target)
    return (marker.step, (target / "weights.bin").read_text()) if marker else None


def test_a_checkpoint_comes_back_as_it_was(store: LocalStore, tmp_path: Path):
    save(store, tmp_path, 7)
    marker = checkpoints(store, "pod-b").restore(tmp_path / "restored")
    assert marker is not None
    assert (marker.step, marker.micro_batch) == (7, 4)
    found = {str(path.relative_to(tmp_path / "restored")) for path in (tmp_path / "restored").rglob("*.bin")}
    assert found == {"weights.bin", "state/optimizer.bin"}
    assert (tmp_path / "restored/state/optimizer.bin").read_text() == "moments"


def test_where_there_is_none_a_training_begins_anew(store: LocalStore, tmp_path: Path):
    assert restored(store, tmp_path / "restored") is None


def test_the_newest_checkpoint_is_the_one_of_most_steps(store: LocalStore, tmp_path: Path):
    save(store, tmp_path, 999_950, 1_000_000, 1_000_050)
    assert steps_in(store) == ["1000000-pod-a", "1000050-pod-a"]
    assert restored(store, tmp_path / "restored") == (1_000_050, "weights 1000050")


def test_of_two_pods_at_the_same_step_each_has_its_own(store: LocalStore, tmp_path: Path):
    save(store, tmp_path, 5, 10, pod_uid="pod-a")
    save(store, tmp_path, 10, pod_uid="pod-b")
    assert steps_in(store) == ["000010-pod-a", "000010-pod-b"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("marker.json", None, id="the writer was killed before the marker"),
        pytest.param("marker.json", b'{"step":', id="a marker that cannot be read"),
        pytest.param("weights.bin", None, id="another pod has begun to remove it"),
        pytest.param("weights.bin", b"WEIGHTS 20", id="a file of the same size that is another"),
        pytest.param("state/optimizer.bin", b"mom", id="a truncated file"),
    ],
)
def test_what_is_not_whole_is_passed_over(store: LocalStore, tmp_path: Path, name: str, content: bytes | None):
    save(store, tmp_path, 10, 20)
    if content is None:
        store.delete(f"{FOLDER}/000020-pod-a/{name}")
    else:
        store.write(f"{FOLDER}/000020-pod-a/{name}", content)
    assert restored(store, tmp_path / "restored") == (10, "weights 10")


def test_of_a_damaged_checkpoint_nothing_is_left_beside_the_older_one(store: LocalStore, tmp_path: Path):
    save(store, tmp_path, 10)
    written = files(tmp_path / "newer", "weights 20")
    (written / "added.bin").write_text("x")
    checkpoints(store).save(written, step=20, micro_batch=4)
    store.write(f"{FOLDER}/000020-pod-a/weights.bin", b"damaged")
    assert restored(store, tmp_path / "restored") == (10, "weights 10")
    assert not (tmp_path / "restored/added.bin").exists()


@pytest.mark.parametrize("name", ["../../../home/.bashrc", "/home/.bashrc", "state/../../x", "a//b", ""])
def test_fault_55_a_checkpoint_that_names_a_file_outside_its_folder_is_passed_over(
    store: LocalStore, tmp_path: Path, name: str
):
    save(store, tmp_path, 10, 20)
    key = f"{FOLDER}/000020-pod-a/marker.json"
    marker = json.loads(store.read(key))
    marker["objects"][0]["name"] = name
    store.write(key, json.dumps(marker).encode())
    before = {path for path in tmp_path.rglob("*") if "restored" not in path.parts}
    assert restored(store, tmp_path / "restored") == (10, "weights 10")
    assert {path for path in tmp_path.rglob("*") if "restored" not in path.parts} == before


@pytest.mark.parametrize("folder", ["backup", "x-1", "-pod", "000030", "000030-pod/deeper"])
def test_folders_that_are_no_checkpoints_are_passed_over(store: LocalStore, tmp_path: Path, folder: str):
    save(store, tmp_path, 10)
    store.write(f"{FOLDER}/{folder}/marker.json", b"{}")
    assert restored(store, tmp_path / "restored") == (10, "weights 10")
    save(store, tmp_path, 20, 30)


def test_a_checkpoint_of_another_training_is_refused_with_the_field_that_differs(store: LocalStore, tmp_path: Path):
    save(store, tmp_path, 10)
    with pytest.raises(
        IncompatibleArtifacts,
        match=rf"{FOLDER}/000010-pod-a/marker\.json belongs to a different training \(train\.minSteps: 7 in this run, 100 "
        r"in the store\): use another artifacts\.key",
    ):
        checkpoints(store, train={"minSteps": 7}).restore(tmp_path / "restored")


class StoppedStore(LocalStore):
    """Takes so many uploads until it is away."""

    uploads = 1000

    def upload(self, key: str, path: Path) -> None:
        self.uploads -= 1
        if self.uploads < 0:
            raise Transient(f"away before {key} was there")
        super().upload(key, path)


def test_a_checkpoint_that_was_half_written_does_not_count(tmp_path: Path):
    store = StoppedStore(tmp_path / "store")
    save(store, tmp_path, 10)
    store.uploads = 1
    with pytest.raises(Transient, match="away"):
        save(store, tmp_path, 20)
    assert restored(store, tmp_path / "restored") == (10, "weights 10")


def test_once_the_step_is_committed_nothing_is_left(store: LocalStore, tmp_path: Path):
    save(store, tmp_path, 10, 20)
    store.write(f"{FOLDER}/000030-pod-a/weights.bin", b"of a writer that was killed")
    store.write("iterations/000/train/manifest.json", b"{}")
    checkpoints(store).clear()
    assert list(store.list("")) == ["iterations/000/train/manifest.json"]


def test_each_file_that_is_in_the_store_is_progress(store: LocalStore, tmp_path: Path):
    events: list[dict[str, object]] = []
    saved = Checkpoints(
        store, step_of(Stage.TRAIN), pod_uid="p", keep=1, on_upload=lambda event: events.append(dict(event))
    )
    saved.save(files(tmp_path / "files"), step=3, micro_batch=1)
    assert sorted(events, key=str) == [
        {"checkpoint": 3, "uploaded": "state/optimizer.bin", "bytes": 7},
        {"checkpoint": 3, "uploaded": "weights.bin", "bytes": 7},
    ]


def test_an_upload_beside_the_training_removes_its_folder_once_it_is_in_the_store(store: LocalStore, tmp_path: Path):
    with Uploads(checkpoints(store)) as uploads:
        uploads.save(files(tmp_path / "one"), 1, 1).result()
        assert steps_in(store) == ["000001-pod-a"]
        assert not (tmp_path / "one").exists()
        uploads.save(files(tmp_path / "two"), 2, 1)
    assert steps_in(store) == ["000001-pod-a", "000002-pod-a"]


@pytest.mark.parametrize("begin_another", [True, False], ids=["before the next one", "when the training settles"])
def test_an_upload_that_failed_is_told_once(tmp_path: Path, begin_another: bool):
    store = StoppedStore(tmp_path / "store")
    store.uploads = 0
    with Uploads(checkpoints(store)) as uploads:
        uploads.save(files(tmp_path / "one"), 1, 1)
        with pytest.raises(Transient, match="away before"):
            uploads.save(files(tmp_path / "two"), 2, 1) if begin_another else uploads.settle()
        uploads.settle()
