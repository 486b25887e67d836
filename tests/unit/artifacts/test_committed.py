"""What is read of a committed output: of this experiment, of this run, and as it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.steps import commit_step, step_of

from llm2llm.artifacts.committed import committed_manifest, download_folder, manifest_in, parent_manifest, read_object
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.records import Manifest, Stage, StoredObject, output_digest
from llm2llm.storage import LocalStore

FOLDER = "iterations/000/train"
FILES = {"adapter/weights/a.bin": b"weights", "adapter/config.json": b"{}", "scores.json": b"[]"}
TRAIN = step_of(Stage.TRAIN)


def committed(store: LocalStore) -> Manifest:
    found = manifest_in(store, FOLDER)
    assert found is not None
    return found


def test_the_output_of_another_experiment_is_refused_with_the_field_that_differs(store: LocalStore):
    commit_step(store, TRAIN, FILES)
    with pytest.raises(
        IncompatibleArtifacts, match=r"a different experiment \(randomSeed: 3 in this run, 0 in the store\)"
    ):
        committed_manifest(store, step_of(Stage.TRAIN, randomSeed=3))


def test_a_parent_is_the_very_one_that_this_run_committed(store: LocalStore):
    digest = commit_step(store, TRAIN, FILES).digest
    child = replace(TRAIN, parents={FOLDER: digest})
    assert parent_manifest(store, child, FOLDER).digest == digest
    other = replace(child, parents={FOLDER: "sha256:0"})
    with pytest.raises(
        IncompatibleArtifacts, match=f"{FOLDER}/manifest.json has digest {digest}, but this run committed"
    ):
        parent_manifest(store, other, FOLDER)
    store.delete(f"{FOLDER}/manifest.json")
    with pytest.raises(IncompatibleArtifacts, match=f"{FOLDER}/manifest.json is missing: was the artifact folder"):
        parent_manifest(store, child, FOLDER)


def test_a_manifest_that_cannot_be_read_is_not_one_that_is_not_there(store: LocalStore):
    assert manifest_in(store, FOLDER) is None
    store.write(f"{FOLDER}/manifest.json", b'{"version":')
    with pytest.raises(IncompatibleArtifacts, match=f"{FOLDER}/manifest.json cannot be read"):
        manifest_in(store, FOLDER)


def test_a_folder_is_downloaded_as_it_was(store: LocalStore, tmp_path: Path):
    commit_step(store, TRAIN, FILES)
    folder = download_folder(store, committed(store), "adapter", tmp_path / "down")
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"weights/a.bin": b"weights", "config.json": b"{}"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"weight", "is damaged: 6 bytes, 7 expected", id="truncated"),
        pytest.param(
            b"WEIGHTS",
            "is damaged: 7 bytes, 7 expected",
            id="of the same size",
        ),
        pytest.param(None, "is missing, although its manifest lists it", id="gone"),
    ],
)
def test_fault_31_an_object_that_is_not_what_its_manifest_says_is_named(
    store: LocalStore, tmp_path: Path, content: bytes | None, words: str
):
    commit_step(store, TRAIN, FILES)
    key = f"{FOLDER}/data/pod-a/adapter/weights/a.bin"
    if content is None:
        store.delete(key)
    else:
        store.write(key, content)
    with pytest.raises(IncompatibleArtifacts, match=f"{key} {words}"):
        read_object(store, committed(store), "adapter/weights/a.bin")
    with pytest.raises(IncompatibleArtifacts, match=f"{key} {words}"):
        download_folder(store, committed(store), "adapter", tmp_path / "down")


def test_what_is_not_committed_yet_is_none(store: LocalStore):
    assert committed_manifest(store, TRAIN) is None
    store.write(f"{FOLDER}/data/pod-a/adapter/config.json", b"{}")
    assert committed_manifest(store, TRAIN) is None


def test_a_step_whose_parents_differ_is_another_experiment(store: LocalStore):
    commit_step(store, step_of(Stage.TRAIN, parents={"inputs": "sha256:1"}))
    with pytest.raises(IncompatibleArtifacts, match=r"parents: .*sha256:2.* in this run, .*sha256:1.* in the store"):
        committed_manifest(store, step_of(Stage.TRAIN, parents={"inputs": "sha256:2"}))


def test_a_whole_output_is_downloaded_under_its_names(store: LocalStore, tmp_path: Path):
    commit_step(store, TRAIN, FILES)
    folder = download_folder(store, committed(store), "", tmp_path / "down")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == FILES.keys()


def changed(store: LocalStore, change: Callable[[dict[str, Any]], object]) -> None:
    """Writes a change into the committed manifest."""
    document = json.loads(store.read(f"{FOLDER}/manifest.json"))
    change(document)
    store.write(f"{FOLDER}/manifest.json", json.dumps(document).encode())


def exchange(store: LocalStore) -> Callable[[dict[str, Any]], None]:
    """Exchanges the weights in the store, and their entry in the manifest."""

    def change(document: dict[str, Any]) -> None:
        [entry] = [entry for entry in document["objects"] if entry["name"] == "adapter/weights/a.bin"]
        store.write(entry["key"], b"POISONS")
        entry["sha256"] = hashlib.sha256(b"POISONS").hexdigest()

    return change


def test_fault_56_weights_that_were_exchanged_together_with_their_hash_are_refused(store: LocalStore):
    commit_step(store, TRAIN, FILES)
    changed(store, exchange(store))
    for read in (lambda: manifest_in(store, FOLDER), lambda: committed_manifest(store, TRAIN)):
        with pytest.raises(IncompatibleArtifacts, match=f"{FOLDER}/manifest.json cannot be read: .*it was changed"):
            read()


def test_fault_56_weights_that_were_exchanged_with_the_manifests_own_digest_are_refused_by_those_who_knew_it(
    store: LocalStore,
):
    digest = commit_step(store, TRAIN, FILES).digest
    changed(store, exchange(store))
    objects = [
        StoredObject.model_validate(entry) for entry in json.loads(store.read(f"{FOLDER}/manifest.json"))["objects"]
    ]
    forged = output_digest(objects)
    changed(store, lambda document: document.update(digest=forged, report=document["report"] | {"digest": forged}))
    assert committed(store).digest == forged  # the manifest alone cannot show it
    with pytest.raises(IncompatibleArtifacts, match=f"has digest {forged}, but this run committed {digest}"):
        parent_manifest(store, replace(TRAIN, parents={FOLDER: digest}), FOLDER)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda document: document["report"].update(digest="sha256:0"), id="the report's digest alone"),
        pytest.param(lambda document: document.update(digest="sha256:0"), id="the manifest's digest alone"),
        pytest.param(lambda document: document["objects"].pop(), id="an object less"),
        pytest.param(
            lambda document: document["objects"].insert(0, document["objects"][-1] | {"key": "iterations/000/other"}),
            id="an object twice, of which the first would be read",
        ),
        pytest.param(lambda document: document["objects"][0].update(name="../../../home/.bashrc"), id="a name outside"),
        pytest.param(lambda document: document["objects"][0].update(name="/home/.bashrc"), id="an absolute name"),
        pytest.param(lambda document: document["objects"][0].update(name="adapter//config.json"), id="an empty part"),
        pytest.param(
            lambda document: document["objects"][0].update(name="adapter/\u001b[2J"), id="a control character"
        ),
        pytest.param(lambda document: document["objects"][0].update(key="../other-run/model"), id="a key outside"),
        pytest.param(lambda document: document["objects"][0].update(key="/etc/passwd"), id="an absolute key"),
    ],
)
def test_fault_56_a_manifest_that_was_changed_is_read_by_nobody(
    store: LocalStore, change: Callable[[dict[str, Any]], object]
):
    commit_step(store, TRAIN, FILES)
    changed(store, change)
    with pytest.raises(IncompatibleArtifacts, match=r"manifest\.json cannot be read"):
        manifest_in(store, FOLDER)
    with pytest.raises(IncompatibleArtifacts, match=r"manifest\.json cannot be read"):
        parent_manifest(store, replace(TRAIN, parents={FOLDER: "sha256:0"}), FOLDER)


def test_fault_55_a_link_in_the_store_leads_no_reader_out_of_it(store: LocalStore, tmp_path: Path):
    commit_step(store, TRAIN, FILES)
    secret = tmp_path / "secret"
    secret.write_bytes(b"weights")  # of the very content, so that no hash could tell
    path = tmp_path / "store" / FOLDER / "data/pod-a/adapter/weights/a.bin"
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(ConfigurationError, match=r"'.*/a\.bin' leads out of .*store through a symbolic link"):
        read_object(store, committed(store), "adapter/weights/a.bin")
    with pytest.raises(ConfigurationError, match="leads out of"):
        download_folder(store, committed(store), "adapter", tmp_path / "down")
