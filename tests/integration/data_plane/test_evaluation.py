from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.integration.data_plane.bench import Bench
from tests.integration.data_plane.vllmprocess import in_a_process_with_vllm, run_step_with_vllm
from tests.support import keyword

from llm2llm.api.data import Task
from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.engines import engine_named
from llm2llm.errors import GpuOutOfMemory, IncompatibleArtifacts
from llm2llm.models.tokenizer import load_fast_tokenizer, load_tokenizer
from llm2llm.records import Example, Prediction, Stage, predictions_from_jsonl
from llm2llm.stages import answers
from llm2llm.stages.answers import predict
from llm2llm.stages.engine_checks import WITHOUT_ADAPTERS
from llm2llm.step import run_step
from llm2llm.storage import LocalStore, Store
from llm2llm.tasks import task_of


@pytest.fixture
def bench(tmp_path: Path, student: Path) -> Bench:
    return Bench(tmp_path, student)


def learned(bench: Bench) -> tuple[keyword.Run, LocalStore]:
    """A run whose student has learned enough of 40 rows to be right and wrong."""
    train = {**keyword.TRAIN, "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 20}}
    run, store = bench.run("run", train=train)
    run.add(run_step(run.step(Stage.TRAIN), store, bench.context()))
    return run, store


def predictions(store: Store, run: keyword.Run, name: str) -> list[Prediction]:
    manifest = committed_manifest(store, run.step(Stage.EVALUATE))
    assert manifest is not None
    return list(predictions_from_jsonl(read_object(store, manifest, f"predictions.{name}.jsonl")))


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


def gpu_that_holds(rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has batches of more rows run out of memory; the rows of each batch that was tried."""
    import torch
    from transformers import GenerationMixin

    tried: list[int] = []
    generate = GenerationMixin.generate

    def limited(self: Any, input_ids: Any, **more: Any) -> Any:
        tried.append(len(input_ids))
        if len(input_ids) > rows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return generate(self, input_ids, **more)

    monkeypatch.setattr(GenerationMixin, "generate", limited)
    return tried


def test_a_batch_that_the_gpu_does_not_hold_is_halved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = learned(bench)
    undisturbed = LocalStore(shutil.copytree(bench.folder / "run", bench.folder / "undisturbed"))
    expected = run_step(run.step(Stage.EVALUATE), undisturbed, bench.context("alone"))
    tried = gpu_that_holds(8, monkeypatch)

    assert run_step(run.step(Stage.EVALUATE), store, bench.context()).digest == expected.digest
    assert tried == [60, 30, 15, 7, 7, 7, 7, 7, 7, 7, 7, 4]


def test_an_evaluation_whose_longest_row_the_gpu_does_not_hold_is_out_of_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = learned(bench)
    gpu_that_holds(0, monkeypatch)

    with pytest.raises(
        GpuOutOfMemory, match=r"not have enough memory for one prompt of 9 tokens with an answer of 4 .* larger GPU"
    ) as told:
        run_step(run.step(Stage.EVALUATE), store, bench.context())
    assert (told.value.exit_code, told.value.micro_batch) == (69, 1)


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


@pytest.mark.vllm
def test_vllm_ends_an_answer_at_the_same_place(bench: Bench) -> None:
    run, store = short_of_context(bench)
    shutil.copytree(bench.folder / "run", bench.folder / "vllm")
    run_step(run.step(Stage.EVALUATE), store, bench.context())
    expected = [predictions(store, run, name) for name in ("seed", "evaluation")]
    run.document["evaluate"]["engine"] = "vLLM"
    run_step_with_vllm(run.step(Stage.EVALUATE), bench.folder / "vllm", bench.folder / "scratch-of-vllm")
    other = LocalStore(bench.folder / "vllm")

    assert [predictions(other, run, name) for name in ("seed", "evaluation")] == expected


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


def test_prepare_counts_tokens_as_training_does(student: Path) -> None:
    texts = [row["text"] + " <sep>" for row in keyword.rows(2, 3)]
    slow, quick = load_tokenizer(student), load_fast_tokenizer(student)

    assert quick.prompts(texts) == slow.prompts(texts)
    assert quick.completions(keyword.LABELS) == slow.completions(keyword.LABELS)
    assert quick.text([3, 4]) == slow.text([3, 4])


@pytest.mark.vllm
def test_vllm_draws_each_row_by_its_own_seed_too_and_may_be_stopped_at_any_look(bench: Bench) -> None:
    learned(bench)
    adapter = next((bench.folder / "run" / "iterations/000/train/data").glob("*/adapter"))
    done = in_a_process_with_vllm(_DRAW, str(bench.student), str(adapter))
    drawn, reversed_, greedy, first, again = json.loads(done.splitlines()[-1])

    assert reversed_ == drawn
    assert greedy != drawn
    assert 0 < first < 6000
    assert again == greedy


@pytest.mark.vllm
def test_vllm_takes_no_more_context_than_is_asked_and_says_what_it_cannot_serve(tmp_path: Path) -> None:
    """Four million positions, whose whole cache no machine holds; and an adapter of an architecture that takes none."""
    told = in_a_process_with_vllm(_LOAD, str(tmp_path)).splitlines()
    answered, refused, others = (line.removeprefix("told: ") for line in told if line.startswith("told: "))
    assert [0 < count <= 4 for count in json.loads(answered)] == [True, True]  # EOS is one of the words
    assert refused.startswith(
        "ConfigurationError vLLM cannot serve this student: GPT2LMHeadModel does not support LoRA"
    )
    assert refused.endswith("set spec.evaluate.engine: Transformers")
    assert set(json.loads(others)) == WITHOUT_ADAPTERS


_LOAD = """
import json, sys
from pathlib import Path
from peft import LoraConfig, get_peft_model
from tests.support import keyword
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from llm2llm.engines import Student, engine_named

folder, words = Path(sys.argv[1]), len(keyword.WORDS)
small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
long = LlamaConfig(vocab_size=words, max_position_embeddings=4_000_000, **small)
narrow = GPT2Config(vocab_size=words, n_positions=64, n_embd=64, n_layer=1, n_head=2)
for name, model in ("long", LlamaForCausalLM(long)), ("narrow", GPT2LMHeadModel(narrow)):
    model.save_pretrained(folder / name)
    keyword.write_tokenizer(folder / name)
get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")).save_pretrained(folder / "adapter")
engine = engine_named("vLLM")(Student(folder / "long", None, "none", eos=1), precision="fp32", gpus=1, context=8)
counts = [len(ids) for batch in engine.generate([[3, 4], [5] * 4], [4, 4]) for ids in batch.values()]
print("told:", counts, flush=True)
try:
    student = Student(folder / "narrow", folder / "adapter", "none", eos=1)
    engine_named("vLLM")(student, precision="fp32", gpus=1, context=8)
except Exception as error:
    print("told:", type(error).__name__, str(error).replace("\\n", " "), flush=True)

from importlib import import_module
from vllm.model_executor.models.interfaces import supports_lora
from vllm.model_executor.models.registry import _TEXT_GENERATION_MODELS as served

def takes_adapters(module, name):
    try:
        return supports_lora(getattr(import_module(f"vllm.model_executor.models.{module}"), name))
    except ImportError:  # not for CPUs
        return True

print("told:", json.dumps([name for name, where in served.items() if not takes_adapters(*where)]), flush=True)
"""


_DRAW = """
import json, sys
from pathlib import Path
from llm2llm.engines import SamplingSettings, Student, engine_named
student = Student(Path(sys.argv[1]), Path(sys.argv[2]), "none", eos=1)
engine = engine_named("vLLM")(student, precision="fp32", gpus=1, context=8)
prompts = [[3 + n, 50 + n, 100 + n, 2] for n in range(20)]
def answers(prompts, draws=None):
    told = {row: ids for batch in engine.generate(prompts, [4] * len(prompts), draws) for row, ids in batch.items()}
    return [told[row] for row in range(len(prompts))]
drawn = answers(prompts, SamplingSettings(1.0, range(20)))
back = answers(prompts[::-1], SamplingSettings(1.0, range(20)[::-1]))[::-1]
greedy = answers(prompts)
begun = engine.generate(prompts * 300, [4] * 6000)
first = next(begun)
begun.close()
print(json.dumps([drawn, back, greedy, len(first), answers(prompts)]))
"""
