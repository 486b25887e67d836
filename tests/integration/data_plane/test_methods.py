"""The ways to fine-tune: what each leaves in the store, and that it is scored as it was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.data_plane.bench import Bench
from tests.integration.data_plane.test_train import markers, stop_after
from tests.support import keyword

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.errors import ConfigurationError, Terminated
from llm2llm.records import Example, Prediction, Report, Stage, predictions_from_jsonl, to_jsonl
from llm2llm.step import run_step
from llm2llm.storage import LocalStore


def training(method: str, epochs: int = 20) -> dict[str, Any]:
    """Enough of 40 rows to be right and wrong."""
    chosen = {
        **keyword.TRAIN,
        "method": method,
        "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": epochs},
    }
    if method == "Full":
        del chosen["lora"]
    return chosen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, keyword.write_student(tmp_path / "base"))


def predictions(store: LocalStore, run: keyword.Run) -> list[Prediction]:
    manifest = committed_manifest(store, run.step(Stage.EVALUATE))
    assert manifest is not None
    return list(predictions_from_jsonl(read_object(store, manifest, "predictions.seed.jsonl")))


def greedy(model: Any, tokenizer: Any, text: str) -> str:
    """What a model answers, asked by nothing but transformers."""
    ids = tokenizer(f"{text} <sep>", return_tensors="pt").input_ids
    output = model.generate(input_ids=ids, do_sample=False, max_new_tokens=4, eos_token_id=1, pad_token_id=0)
    return str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))


def test_full_training_leaves_a_model_that_needs_its_base_no_more(bench: Bench) -> None:
    import torch
    from safetensors.torch import load
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, store = bench.run("run", train=training("Full"))
    trained = run.add(run_step(run.step(Stage.TRAIN), store, bench.context()))
    files = keyword.adapter_bytes(store)
    base = load((bench.student / "model.safetensors").read_bytes())
    bench.student.rename(bench.folder / "away")
    report = run.add(run_step(run.step(Stage.EVALUATE), store, bench.context()))
    folder = Path(trained.model_uri.removeprefix(store.uri).lstrip("/"))
    lone = bench.folder / "run" / folder
    model = AutoModelForCausalLM.from_pretrained(str(lone))
    tokenizer = AutoTokenizer.from_pretrained(str(lone))

    assert folder == Path("iterations/000/train/data/pod-1/model")
    assert {
        "model/model.safetensors",
        "model/config.json",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "model/prompt_template.jinja",
        "model/README.md",
        "rows.json",
    } <= files.keys()
    assert not any(name.startswith("adapter/") for name in files)
    assert not any(str(bench.folder).encode() in content for content in files.values() if content[:1] == b"{")
    assert json.loads(files["model/config.json"]) == json.loads((bench.folder / "away" / "config.json").read_text())
    assert b"library_name: transformers" in files["model/README.md"]
    weights = load(files["model/model.safetensors"])
    assert weights.keys() == base.keys()
    assert not any(torch.equal(weights[name], base[name]) for name in base)
    assert 0 < report.mistakes < 40
    for row, prediction in zip(keyword.rows(2, 1), predictions(store, run), strict=True):
        assert greedy(model, tokenizer, row["text"]) == prediction.output
    best = json.loads(store.read("best.json"))
    assert (best["modelUri"], best["digest"]) == (trained.model_uri, trained.digest)


SAMPLING = {
    "do_sample": True,
    "temperature": 1.7,
    "top_p": 0.9,
    "repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "eos_token_id": [1],
    "pad_token_id": 0,
}


@pytest.mark.parametrize("method", ["Full", "LoRA"])
def test_what_is_served_without_any_setting_answers_as_it_was_scored_whatever_the_base_draws_by(
    bench: Bench, method: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    (bench.student / "generation_config.json").write_text(json.dumps(SAMPLING))
    run, store = bench.run("run", train=training(method))
    trained = run.add(run_step(run.step(Stage.TRAIN), store, bench.context()))
    run.add(run_step(run.step(Stage.EVALUATE), store, bench.context()))
    folder = bench.folder / "run" / trained.model_uri.removeprefix(store.uri).lstrip("/")
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder if method == "Full" else bench.student))
    if method == "LoRA":
        model.generation_config = GenerationConfig.from_pretrained(str(folder))
        model = PeftModel.from_pretrained(model, str(folder))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))

    assert json.loads((folder / "generation_config.json").read_text()) == {
        "do_sample": False,
        "eos_token_id": [1],
        "pad_token_id": 0,
    }
    for row, prediction in zip(keyword.rows(2, 1), predictions(store, run), strict=True):
        ids = tokenizer(f"{row['text']} <sep>", return_tensors="pt").input_ids
        answer = model.generate(ids, max_new_tokens=4)[0, ids.shape[1] :]
        assert tokenizer.decode(answer, skip_special_tokens=True) == prediction.output


def test_full_training_may_start_from_the_model_of_the_iteration_before(bench: Bench) -> None:
    """Three times: as is, from the iteration before, and from there at a learning rate of 0, which leaves it as it was."""
    digests, weights = [], []
    for name, start, rate in (("a", "BaseModel", ""), ("b", "PreviousIteration", ""), ("c", "PreviousIteration", "0")):
        run, store = bench.run(name, train=training("Full", 2), startFrom=start)
        for stage in (Stage.TRAIN, Stage.EVALUATE):
            run.add(run_step(run.step(stage), store, bench.context()))
        row = Example(id="s0", fields={"text": keyword.rows(1, 3)[0]["text"]}, completion=keyword.LABELS[0])
        told = Report(run_uid=run.uid, stage=Stage.GENERATE)
        run.add(commit(store, run.step(Stage.GENERATE), bench.context(), {"synthetic.jsonl": to_jsonl([row])}, told))
        if rate:
            run.document["train"]["hyperparameters"]["learningRate"] = rate
        digests.append(run_step(run.step(Stage.TRAIN, 1), store, bench.context()).digest)
        keys = [key for key in store.list("iterations/") if key.endswith("/model.safetensors")]
        weights.append([store.read(key) for key in sorted(keys)])

    assert digests[0] != digests[1]
    assert weights[1][0] != weights[1][1]
    assert weights[2][0] == weights[2][1]


def test_qlora_trains_an_adapter_on_the_4_bit_base_that_it_is_scored_on(bench: Bench) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    bench.student = keyword.write_student(bench.folder / "spread", spread=0.2)
    run, store = bench.run("run", train=training("QLoRA"))
    trained = run.add(run_step(run.step(Stage.TRAIN), store, bench.context()))
    report = run.add(run_step(run.step(Stage.EVALUATE), store, bench.context()))
    lora, other = bench.run("lora", train=training("LoRA"))
    on_16_bits = run_step(lora.step(Stage.TRAIN), other, bench.context())
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    adapter = bench.folder / "run" / "iterations/000/train/data/pod-1/adapter"
    tokenizer = AutoTokenizer.from_pretrained(str(adapter))

    def answers(**how: Any) -> list[str]:
        base = AutoModelForCausalLM.from_pretrained(str(bench.student), **how)
        model = PeftModel.from_pretrained(base, str(adapter))
        return [greedy(model, tokenizer, row["text"]) for row in keyword.rows(2, 1)]

    assert trained.model_uri.endswith("/adapter")
    assert trained.digest != on_16_bits.digest
    assert b"4 bits (bitsandbytes nf4" in keyword.adapter_bytes(store)["adapter/README.md"]
    assert not any(name.startswith("model/") for name in keyword.adapter_bytes(store))
    assert 0 < report.mistakes < 40
    told = [prediction.output for prediction in predictions(store, run)]
    assert told == answers(quantization_config=nf4, device_map={"": "cpu"})
    assert told != answers()


@pytest.mark.parametrize("method", ["QLoRA", "Full"])
def test_a_run_that_goes_on_after_sigterm_ends_with_the_weights_of_an_uninterrupted_one(
    bench: Bench, method: str
) -> None:
    run, store = bench.run("whole", train=training(method, 4))
    whole = run_step(run.step(Stage.TRAIN), store, bench.context())
    run, store = bench.run("stopped", train=training(method, 4))
    first = bench.context("pod-1")
    first.clock = stop_after(first, 10)
    with pytest.raises(Terminated):
        run_step(run.step(Stage.TRAIN), store, first)
    assert len(markers(store)) == 1

    assert run_step(run.step(Stage.TRAIN), store, bench.context("pod-2")).digest == whole.digest


def test_prepare_knows_that_vllm_has_no_fp32_for_qlora(bench: Bench) -> None:
    with pytest.raises(
        ConfigurationError, match=r"spec.evaluate.precision: vLLM evaluates QLoRA students only in bf16"
    ):
        bench.run("run", train=training("QLoRA"), evaluate={"engine": "vLLM", "precision": "fp32"})
