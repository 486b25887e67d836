from __future__ import annotations

import json

from tests.integration.data_plane.bench import Bench
from tests.support import keyword

from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.records import Stage, predictions_from_jsonl
from llm2llm.step import run_step


def test_the_test_set_is_scored_like_the_evaluation_set_and_shown_beside_the_best(bench: Bench) -> None:
    held_out = keyword.rows(2, 9)
    (bench.folder / "evaluation.jsonl").write_bytes(keyword.jsonl(held_out[::2]))
    (bench.folder / "test.jsonl").write_bytes(keyword.jsonl([*held_out[1::2], held_out[0]]))
    data = bench.document()["data"] | {"test": {"uri": (bench.folder / "test.jsonl").as_uri()}}
    train = {**keyword.TRAIN, "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 20}}
    run, store = bench.run("run", train=train, data=data)
    assert run.reports[0].resolved
    assert run.reports[0].resolved.test_count == 20
    assert "1 test rows are also seed or evaluation rows" in run.reports[0].message
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        run.add(run_step(run.step(stage), store, bench.context()))
    step = run.step(Stage.TEST)
    report = run_step(step, store, bench.context())
    manifest = committed_manifest(store, step)
    assert manifest is not None
    answered = list(predictions_from_jsonl(read_object(store, manifest, "predictions.test.jsonl")))

    assert [(metric.dataset, metric.examples) for metric in report.metrics] == [("test", 20), ("test", 20)]
    assert report.metrics[0].value == sum(prediction.correct for prediction in answered) / 20
    assert json.loads(store.read("best.json"))["test"][0]["value"] == report.metrics[0].value
