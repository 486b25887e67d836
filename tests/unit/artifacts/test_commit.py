"""What a step's output is to those who read it: whole, of this run, and of one pod."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from tests.support import builders

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import committed_manifest, manifest_in, read_object
from llm2llm.artifacts.retention import has_all_objects, weights_of
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


def test_weights_in_parts_are_whole_only_while_all_are_there(store: LocalStore):
    parts = {f"model/model-{part}-of-2.safetensors": b"weights" for part in (1, 2)}
    commit(store, step(), StepContext("pod-a", Path("unused")), FILES | parts, Report(run_uid="u", stage=Stage.TRAIN))
    assert has_all_objects(store, manifest(store))
    store.delete(weights_of(manifest(store))[0])
    assert not has_all_objects(store, manifest(store))
