"""The real vLLM on CPU, in a process of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.data_plane.bench import Bench, learned, predictions
from tests.integration.data_plane.test_answers import short_of_context
from tests.integration.data_plane.vllmprocess import in_a_process_with_vllm, run_step_with_vllm

from llm2llm.records import Stage
from llm2llm.stages.engine_checks import WITHOUT_ADAPTERS
from llm2llm.step import run_step
from llm2llm.storage import LocalStore


@pytest.mark.turns("engines")
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


@pytest.mark.turns("engines")
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


@pytest.mark.turns("engines")
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
