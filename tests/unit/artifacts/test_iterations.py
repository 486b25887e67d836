"""The iterations of a run, as its store has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.steps import commit_step, step_of

from llm2llm.artifacts.iterations import committed_iterations, step_results_in
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.records import Stage
from llm2llm.storage import LocalStore

TRAINED, EVALUATED, GENERATED, TESTED = (Stage.TRAIN,), (Stage.EVALUATE,), (Stage.GENERATE,), (Stage.TEST,)


def run(folder: Path, *iterations: tuple[int, tuple[Stage, ...]]) -> LocalStore:
    """A store in which these stages of each iteration are committed."""
    store = LocalStore(folder)
    commit_step(store, step_of(Stage.PREPARE))
    for index, stages in iterations:
        for stage in stages:
            commit_step(store, step_of(stage, index))
    return store


def test_iterations_come_in_order_and_closing_ones_last(tmp_path: Path):
    store = run(tmp_path, (102, TRAINED), (8, TRAINED), (1, TRAINED))
    assert [iteration.index for iteration in committed_iterations(store)] == [1, 8, 102]


def test_an_iteration_has_what_it_has_committed(tmp_path: Path):
    [iteration] = committed_iterations(run(tmp_path, (4, TRAINED + EVALUATED + TESTED)))
    assert iteration.index == 4
    assert (iteration.train.report.stage, iteration.train.report.iteration) == (Stage.TRAIN, 4)
    assert iteration.evaluate is not None
    assert iteration.evaluate.report.stage is Stage.EVALUATE
    assert iteration.generate is None
    assert iteration.test is not None
    assert iteration.test.report.stage is Stage.TEST


def test_an_upload_without_its_manifest_is_no_iteration(tmp_path: Path):
    store = run(tmp_path, (0, TRAINED))
    store.write("iterations/001/train/data/pod-a/adapter/config.json", b"{}")
    store.write("iterations/002/evaluate/manifest.json", b"{}")
    assert [iteration.index for iteration in committed_iterations(store)] == [0]


def test_results_are_those_of_iterations_that_are_trained_and_evaluated(tmp_path: Path):
    store = run(tmp_path, (0, TRAINED + EVALUATED + GENERATED), (1, TRAINED))
    assert [(outcome.step.stage, outcome.step.iteration) for outcome in step_results_in(store)] == [
        (Stage.TRAIN, 0),
        (Stage.EVALUATE, 0),
    ]


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path):
    store = run(tmp_path, (0, TRAINED))
    store.write("iterations/000/evaluate/manifest.json", b"{")
    with pytest.raises(IncompatibleArtifacts, match=r"iterations/000/evaluate/manifest\.json cannot be read"):
        list(committed_iterations(store))


def test_a_folder_that_a_person_put_beside_the_iterations_is_none(tmp_path: Path):
    store = run(tmp_path, (0, TRAINED))
    for folder in ("000-old", "notes", ".trash"):
        store.write(f"iterations/{folder}/train/manifest.json", store.read("iterations/000/train/manifest.json"))
    assert [iteration.index for iteration in committed_iterations(store)] == [0]
