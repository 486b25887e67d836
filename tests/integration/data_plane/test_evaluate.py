"""The scores of an evaluation and the report's view of them."""

from __future__ import annotations

import json

import pytest
from tests.integration.data_plane.bench import Bench, learned, predictions
from tests.support import keyword

from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.records import Stage
from llm2llm.step import run_step


def test_every_row_is_answered_and_the_report_counts_what_the_predictions_say(bench: Bench) -> None:
    run, store = learned(bench)
    report = run_step(run.step(Stage.EVALUATE), store, bench.context())
    seeds, held_out = predictions(store, run, "seed"), predictions(store, run, "evaluation")

    assert (len(seeds), len(held_out)) == (40, 20)
    assert report.mistakes == sum(not prediction.correct for prediction in seeds)
    assert 0 < report.mistakes < 40
    assert [(metric.name, metric.dataset, metric.examples) for metric in report.metrics] == [
        ("accuracy", "seed", 40), ("macroF1", "seed", 40), ("accuracy", "evaluation", 20), ("macroF1", "evaluation", 20),
    ]  # fmt: skip
    assert report.metrics[0].value == (40 - report.mistakes) / 40
    assert all(metric.low <= metric.value <= metric.high for metric in report.metrics)


def test_each_class_is_told_for_itself_and_sums_up_to_the_set(bench: Bench) -> None:
    run, store = learned(bench)
    report = run_step(run.step(Stage.EVALUATE), store, bench.context())
    manifest = committed_manifest(store, run.step(Stage.EVALUATE))
    assert manifest is not None
    classes = json.loads(read_object(store, manifest, "scores.json"))["seed"]["classes"]

    assert [of["label"] for of in classes] == sorted(keyword.LABELS)
    assert sum(of["examples"] for of in classes) == 40
    assert sum(of["examples"] - of["right"] for of in classes) == report.mistakes
    assert report.metrics[1].value == pytest.approx(sum(of["f1"] for of in classes) / len(classes), abs=1e-5)


def test_best_json_is_a_view_that_comes_back_when_a_committed_step_is_run_again(bench: Bench) -> None:
    run, store = learned(bench)
    report = run.add(run_step(run.step(Stage.EVALUATE), store, bench.context()))
    best = json.loads(store.read("best.json"))
    store.delete("best.json")
    again = run_step(run.step(Stage.EVALUATE), store, bench.context("pod-2"))

    assert best["iteration"] == 0
    assert best["digest"] == run.reports[1].digest
    assert best["metric"]["value"] == report.metrics[2].value
    assert again.digest == report.digest
    assert json.loads(store.read("best.json")) == best
