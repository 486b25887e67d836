"""Everything that a run has committed is read, and what was changed or lost is told by folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.steps import commit_step, step_of

from llm2llm.artifacts.verify import VerifiedStep, verify_run
from llm2llm.records import Stage
from llm2llm.storage import LocalStore

INPUTS, TRAIN, EVALUATE = "inputs", "iterations/000/train", "iterations/000/evaluate"
WEIGHTS = f"{TRAIN}/data/pod-a/adapter/adapter_model.safetensors"


@pytest.fixture
def digests(store: LocalStore) -> dict[str, str]:
    """A run of three steps, and its digests by folder."""
    inputs = commit_step(store, step_of(Stage.PREPARE), {"seed.jsonl": b"rows"}).digest
    files = {"adapter/adapter_model.safetensors": b"weights", "adapter/adapter_config.json": b"{}"}
    train = commit_step(store, step_of(Stage.TRAIN, parents={INPUTS: inputs}), files).digest
    step = step_of(Stage.EVALUATE, parents={INPUTS: inputs, TRAIN: train})
    evaluate = commit_step(store, step, {"predictions.seed.jsonl": b"[]"}).digest
    return {INPUTS: inputs, TRAIN: train, EVALUATE: evaluate}


def problems(store: LocalStore, digests: dict[str, str] | None = None) -> dict[str, tuple[str, ...]]:
    return {step.folder: step.problems for step in verify_run(store, digests) if step.problems}


def test_a_run_as_it_was_written_has_no_problem(store: LocalStore, digests: dict[str, str]):
    store.write("iterations/000/train/checkpoints/000010-pod-a/marker.json", b"{}")
    store.write("logs/prepare-a0-pod.log", b"log")
    store.write(f"{TRAIN}/data/pod-b/adapter/manifest.json", b"of a tokenizer, say")
    found = list(verify_run(store, digests))
    assert {step.folder: step.digest for step in found} == digests
    assert problems(store, digests) == {}
    assert {step.folder: step.bytes for step in found} == {INPUTS: 4, TRAIN: 9, EVALUATE: 2}


def test_fault_56_an_object_that_was_changed_lost_or_exchanged_is_named(store: LocalStore, digests: dict[str, str]):
    store.write(WEIGHTS, b"WEIGHTS")
    store.delete(f"{INPUTS}/data/pod-a/seed.jsonl")
    assert problems(store) == {
        TRAIN: (f"{store.uri}/{WEIGHTS} is damaged or was changed: its sha256 is not the one in its manifest",),
        INPUTS: (f"{store.uri}/{INPUTS}/data/pod-a/seed.jsonl is missing",),
    }


def test_weights_that_retention_deleted_are_no_problem_but_a_part_of_them_is(
    store: LocalStore, digests: dict[str, str]
):
    store.delete(WEIGHTS)
    gone = (f"{store.uri}/{WEIGHTS} is missing",)
    assert problems(store) == {TRAIN: gone}  # the newest training has its weights
    newer = step_of(Stage.TRAIN, iteration=1, parents={INPUTS: digests[INPUTS]})
    newest = commit_step(store, newer, {"adapter/adapter_model.safetensors": b"newest"}).digest
    assert {step.folder: step.problems for step in verify_run(store, weights_of_all=True)}[TRAIN] == gone
    newer_is_best = {"iterations/001/train": newest}
    assert problems(store, digests | newer_is_best) == {}
    assert problems(store, newer_is_best | digests) == {TRAIN: gone}  # the best one has them
    [train] = [step for step in verify_run(store) if step.folder == TRAIN]
    assert train == VerifiedStep(TRAIN, digests[TRAIN], 1, 2, (), without_weights=True)
    store.delete(f"{TRAIN}/data/pod-a/adapter/adapter_config.json")
    assert problems(store)[TRAIN] == (f"{store.uri}/{TRAIN}/data/pod-a/adapter/adapter_config.json is missing",)


def test_fault_56_a_step_that_was_made_anew_is_found_by_its_children_and_by_the_status(
    store: LocalStore, digests: dict[str, str]
):
    store.delete(f"{TRAIN}/manifest.json")
    step = step_of(Stage.TRAIN, parents={INPUTS: digests[INPUTS]})
    other = commit_step(store, step, {"adapter/adapter_model.safetensors": b"poison"}, pod_uid="pod-b").digest
    child = f"it was made from {TRAIN} with digest {digests[TRAIN]}, which has {other} now"
    assert problems(store) == {EVALUATE: (child,)}
    told = f"its digest is {other}, but the run's status says {digests[TRAIN]}"
    assert problems(store, digests) == {EVALUATE: (child,), TRAIN: (told,)}


def test_a_manifest_that_was_changed_or_lost_is_told_once(store: LocalStore, digests: dict[str, str]):
    manifest = json.loads(store.read(f"{TRAIN}/manifest.json"))
    manifest["objects"][0]["sha256"] = "0" * 64
    store.write(f"{TRAIN}/manifest.json", json.dumps(manifest).encode())
    [(folder, [told])] = problems(store, digests).items()
    assert folder == TRAIN
    assert "it was changed" in told
    store.delete(f"{TRAIN}/manifest.json")
    assert problems(store, digests) == {
        EVALUATE: (f"it was made from {TRAIN}, which is gone",),
        TRAIN: (f"{store.uri}/{TRAIN}/manifest.json is missing",),
    }


def test_a_folder_without_any_step_has_none(store: LocalStore):
    assert list(verify_run(store)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest.update(contentKey="sha256:other"), "its content key is not that of its key fields"),
        (lambda manifest: manifest.update(parents={}), "its parents are not those of its key fields"),
        (lambda manifest: manifest["report"].update(stage="Evaluate"), "its report is of iterations/000/evaluate"),
        (lambda manifest: manifest["report"].update(iteration=4), "its report is of iterations/004/train"),
        (lambda manifest: manifest["objects"][0].update(size=99), "has 2 bytes, but its manifest says 99"),
        (lambda manifest: manifest["parents"].update({"../../x": "sha256:x"}), "is not a name of a file here"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_told_and_the_others_are_still_read(
    store: LocalStore, digests: dict[str, str], change: Callable[[dict[str, Any]], object], words: str
):
    manifest = json.loads(store.read(f"{TRAIN}/manifest.json"))
    change(manifest)
    store.write(f"{TRAIN}/manifest.json", json.dumps(manifest).encode())
    store.delete(f"{INPUTS}/data/pod-a/seed.jsonl")
    found = problems(store)
    assert any(words in problem for problem in found[TRAIN])
    assert INPUTS in found


def test_a_link_that_leads_out_is_a_problem_of_its_step_alone(
    store: LocalStore, digests: dict[str, str], tmp_path: Path
):
    (tmp_path / "secret").write_bytes(b"weights")
    path = tmp_path / "store" / WEIGHTS
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    [(folder, [problem])] = problems(store, digests).items()
    assert folder == TRAIN
    assert "leads out of" in problem
