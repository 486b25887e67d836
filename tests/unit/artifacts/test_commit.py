"""What a step's output is to those who read it: whole, of this run, and of one pod."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from tests.support import builders

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import committed_manifest, download_folder, manifest_in, parent_manifest, read_object
from llm2llm.artifacts.retention import has_all_objects, weights_of
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.records import Manifest, Report, Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import LocalStore

FOLDER = "iterations/000/train"
FILES = {"adapter/weights/a.bin": b"weights", "adapter/config.json": b"{}", "scores.json": b"[]"}


def step(**changes: object) -> Step:
    fields = {"stage": Stage.TRAIN, "namespace": "ns", "run": "r", "run_uid": "u", "parents": {"inputs": "p"}}
    return Step.of(StepDocument.model_validate(fields | {"spec": builders.spec(**changes)}))


def wrote(store: LocalStore, pod: str = "pod-a", weights: bytes = b"weights") -> Report:
    """The report of a pod that committed its output, or came second."""
    context = StepContext(pod, Path("unused"))
    files = FILES | {"adapter/weights/a.bin": weights}
    return commit(store, step(), context, files, Report(run_uid="u", stage=Stage.TRAIN, message=pod))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def manifest(store: LocalStore) -> Manifest:
    found = manifest_in(store, FOLDER)
    assert found is not None
    return found


def test_a_manifest_tells_size_and_digest_of_each_object_and_what_was_read(store: LocalStore):
    report = wrote(store)
    found = manifest(store)
    assert {entry.name: (entry.size, entry.sha256) for entry in found.objects} == {
        name: (len(content), sha256(content).hexdigest()) for name, content in FILES.items()
    }
    assert all(entry.key == f"{FOLDER}/data/pod-a/{entry.name}" for entry in found.objects)
    assert found.parents == {"inputs": "p"}
    assert (found.digest, found.report.digest) == (report.digest, report.digest)
    assert committed_manifest(store, step()) == found


def test_fault_50_of_two_pods_the_first_wins_and_the_other_tells_its_report(store: LocalStore):
    first = wrote(store, "pod-a")
    before = store.read(f"{FOLDER}/manifest.json")
    assert wrote(store, "pod-b", b"other weights") == first
    assert store.read(f"{FOLDER}/manifest.json") == before
    assert read_object(store, manifest(store), "adapter/weights/a.bin") == b"weights"


def test_the_output_of_another_experiment_is_refused_with_the_field_that_differs(store: LocalStore):
    wrote(store)
    with pytest.raises(
        IncompatibleArtifacts, match=r"a different experiment \(randomSeed: 3 in this run, 0 in the store\)"
    ):
        committed_manifest(store, step(randomSeed=3))


def test_a_parent_is_the_very_one_that_this_run_committed(store: LocalStore):
    digest = wrote(store).digest
    child = replace(step(), parents={FOLDER: digest})
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
    wrote(store)
    folder = download_folder(store, manifest(store), "adapter", tmp_path / "down")
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"weights/a.bin": b"weights", "config.json": b"{}"}


def test_weights_in_parts_are_whole_only_while_all_are_there(store: LocalStore):
    parts = {f"model/model-{part}-of-2.safetensors": b"weights" for part in (1, 2)}
    commit(store, step(), StepContext("pod-a", Path("unused")), FILES | parts, Report(run_uid="u", stage=Stage.TRAIN))
    assert has_all_objects(store, manifest(store))
    store.delete(weights_of(manifest(store))[0])
    assert not has_all_objects(store, manifest(store))


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
    wrote(store)
    key = f"{FOLDER}/data/pod-a/adapter/weights/a.bin"
    if content is None:
        store.delete(key)
    else:
        store.write(key, content)
    with pytest.raises(IncompatibleArtifacts, match=f"{key} {words}"):
        read_object(store, manifest(store), "adapter/weights/a.bin")
    with pytest.raises(IncompatibleArtifacts, match=f"{key} {words}"):
        download_folder(store, manifest(store), "adapter", tmp_path / "down")
