"""What the student of an iteration answers: by one engine load, row by row, within the model's context."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.integration.data_plane.bench import Bench, learned, predictions
from tests.support import keyword

from llm2llm.api.data import Task
from llm2llm.engines import engine_named
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.models.tokenizer import load_tokenizer
from llm2llm.records import Example, Stage
from llm2llm.stages import answers
from llm2llm.stages.answers import predict
from llm2llm.step import run_step
from llm2llm.storage import LocalStore
from llm2llm.tasks import task_of


def test_both_sets_are_answered_by_one_load(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = learned(bench)
    loads: list[str] = []
    named = engine_named

    def counted(name: Any) -> Any:
        def load(*arguments: Any, **more: Any) -> Any:
            loads.append(name)
            return named(name)(*arguments, **more)

        return load

    monkeypatch.setattr(answers, "engine_named", counted)
    report = run_step(run.step(Stage.EVALUATE), store, bench.context())
    assert loads == ["Transformers"]
    assert {metric.dataset for metric in report.metrics} == {"seed", "evaluation"}


def test_a_temperature_draws_each_row_by_its_own_seed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = learned(bench)

    def answered(name: str, seed: int, rows_a_batch: int, temperature: str = "1") -> list[str]:
        monkeypatch.setattr("llm2llm.engines.transformers._BATCH_ROWS", rows_a_batch)
        store = LocalStore(bench.folder / name)
        shutil.copytree(bench.folder / "run", bench.folder / name)
        run.document |= {
            "randomSeed": seed,
            "evaluate": {"engine": "Transformers", "sampling": {"temperature": temperature}},
        }
        run_step(run.step(Stage.EVALUATE), store, bench.context())
        return [prediction.output for prediction in predictions(store, run, "seed")]

    drawn = answered("drawn", 0, 512)
    assert answered("again", 0, 7) == drawn
    assert answered("other", 1, 512) != drawn
    assert answered("greedy", 0, 512, "0") != drawn
    assert sum(map(str.__eq__, answered("cold", 0, 512, "0.0001"), answered("greedy-again", 0, 512, "0"))) >= 38


def test_an_adapter_that_was_damaged_is_named(bench: Bench) -> None:
    run, store = learned(bench)
    key = "iterations/000/train/data/pod-1/adapter/adapter_model.safetensors"
    store.write(key, store.read(key)[:-1])

    with pytest.raises(IncompatibleArtifacts, match=f"{key} is damaged"):
        run_step(run.step(Stage.EVALUATE), store, bench.context())


def short_of_context(bench: Bench) -> tuple[keyword.Run, LocalStore]:
    """A trained GPT-2 of 16 positions, which is asked prompts of 3 to 9 tokens for up to 16 more."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(keyword.WORDS), n_positions=16, n_embd=64, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1
    )
    bench.student = bench.folder / "gpt2"
    keyword.write_tokenizer(bench.student)
    model = GPT2LMHeadModel(config)
    model.transformer.wte.weight.data[:2] = 0  # it never pads nor ends
    model.save_pretrained(str(bench.student))
    rows = keyword.rows(1, 5)
    cut = [row | {"text": " ".join(row["text"].split()[: 2 + number % 7])} for number, row in enumerate(rows)]
    (bench.folder / "evaluation.jsonl").write_bytes(keyword.jsonl(cut))
    train = {
        "method": "Full",
        "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 1, "maxLength": 16, "learningRate": "1e-5"},
    }
    evaluate = {"engine": "Transformers", "precision": "fp32", "sampling": {"maxTokens": 16}}
    run, store = bench.run("run", train=train, evaluate=evaluate)
    run.add(run_step(run.step(Stage.TRAIN), store, bench.context()))
    return run, store


def test_an_answer_ends_where_the_models_context_does(bench: Bench) -> None:
    run, store = short_of_context(bench)
    run_step(run.step(Stage.EVALUATE), store, bench.context())
    answered = predictions(store, run, "evaluation")

    assert [len(told.output.split()) for told in answered] == [min(16, 16 - (3 + number % 7)) for number in range(20)]
    assert {told.verdict for told in answered} == {"truncated"}


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        pytest.param(["label03", "<eos>"], "correct", id="the label and an end"),
        pytest.param(["label04", "<eos>"], "wrong", id="another label"),
        pytest.param(["label03", "label03", "<eos>"], "noAnswer", id="two labels"),
        pytest.param(["<eos>"], "noAnswer", id="nothing"),
        pytest.param(["label03", "label03"], "truncated", id="no end within the limit"),
        pytest.param(["label03"], "truncated", id="the label without an end"),
    ],
)
def test_an_answer_without_an_end_is_truncated_and_wrong(student: Path, words: list[str], verdict: str) -> None:
    task = task_of(Task.model_validate({"promptTemplate": "x", "grader": {"type": "Choice"}, "labels": keyword.LABELS}))
    example = Example(id="1", fields={}, completion="label03")
    prediction = predict(example, [keyword.WORDS.index(word) for word in words], task, load_tokenizer(student))

    assert prediction.verdict == verdict
    assert prediction.correct == (verdict == "correct")
