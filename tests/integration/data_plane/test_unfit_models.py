"""Models that cannot be trained, or would answer nonsense: Prepare says so, and nothing waits for a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tests.cluster.s3 import S3Server
from tests.integration.data_plane.bench import Bench
from tests.support import keyword
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import ConfigurationError, DataError, StepError
from llm2llm.models import fetch
from llm2llm.models.headers import INDEX, WHOLE
from llm2llm.records import Stage
from llm2llm.step import run_step
from llm2llm.storage import Store

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4981000000\n"


@pytest.fixture
def bench(student: Path, tmp_path: Path) -> Bench:
    """Runs over a copy of the student, which a test changes."""
    folder = tmp_path / "student"
    folder.mkdir()
    for path in student.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return Bench(tmp_path, folder)


def merge(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def shard(folder: Path) -> None:
    """Divides the weights into two files, of which the second is lost."""
    weights = load_file(folder / WHOLE)
    names = sorted(weights)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    save_file({name: weights[name] for name in names[:3]}, folder / first)
    places = {name: first if name in names[:3] else second for name in names}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / WHOLE).unlink()


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "a Git LFS pointer": (lambda folder: (folder / WHOLE).write_bytes(POINTER), "is a Git LFS pointer"),
    "a missing shard": (shard, "model-00002-of-00002.safetensors is missing"),
    "a file that was cut": (lambda folder: (folder / WHOLE).write_bytes((folder / WHOLE).read_bytes()[:-9]), "it was cut"),
    "GPTQ": (
        lambda folder: merge(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantized already",
    ),
    "T5": (
        lambda folder: merge(
            folder / "config.json", model_type="t5", architectures=["T5ForConditionalGeneration"]
        ),
        "an encoder-decoder",
    ),
    "RoBERTa": (
        lambda folder: merge(folder / "config.json", model_type="roberta", architectures=["RobertaForMaskedLM"]),
        "does not continue a text",
    ),
    "padding beyond the vocabulary": (
        lambda folder: merge(folder / "config.json", pad_token_id=100_000), "pad_token_id 100000",
    ),
    "another vocabulary": (
        lambda folder: merge(folder / "config.json", vocab_size=1000), "vocab_size in config.json is 1000",
    ),
    "a template of parts": (
        lambda folder: (folder / "chat_template.jinja").write_text(
            "{% for m in messages %}{% for c in m['content'] %}{% if c['type']=='text' %}{{ c['text'] }}{% endif %}"
            "{% endfor %}{% endfor %}"
        ),
        "chat template omits or changes the user message",
    ),
    "an index that leads elsewhere": (
        lambda folder: (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}})),
        "is not a name of a file here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("unfit", UNFIT)
def test_fault_60_a_model_that_could_not_be_trained_is_refused_by_prepare(bench: Bench, unfit: str) -> None:
    change, words = UNFIT[unfit]
    change(bench.student)
    with pytest.raises(ConfigurationError, match=words):
        bench.run("refused")


def test_a_pointer_in_a_bucket_is_told_without_a_download(bench: Bench, s3: S3Server, bucket: Store) -> None:
    fields = bench.uploaded(bucket, s3.endpoint)
    spec = AugmentationRunSpec.model_validate(bench.document(**fields))
    revision = fetch.model_revision(spec, s3.environment)
    folder = fetch.fetch_model(spec, revision, s3.environment, bench.folder / "small", weights=False)
    assert not (folder / WHOLE).exists()
    assert fetch.find_weight_problems(spec, revision, s3.environment, folder, keyword.config().vocab_size) == []
    bucket.write(f"student/{WHOLE}", POINTER)
    [problem] = fetch.find_weight_problems(spec, revision, s3.environment, folder, 0)
    assert "is a Git LFS pointer" in problem


def test_fault_60_a_row_with_a_token_that_the_model_lacks_is_told_with_its_line(bench: Bench) -> None:
    keyword.write_tokenizer(bench.student, [*keyword.WORDS, "[IMG]"])
    rows = keyword.rows(1, 1)
    rows[2]["text"] += " [IMG]"
    (bench.folder / "seed.jsonl").write_bytes(keyword.jsonl(rows))
    with pytest.raises(DataError, match=r"seed.jsonl has 1 broken row: line 3: the tokenizer gives it token"):
        bench.run("refused")


def test_each_check_stands_alone_and_what_a_library_says_is_no_reason_to_try_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def surprise(*_: object, **__: object) -> None:
        raise RuntimeError("Rust panicked at tokenizer.rs: invalid byte")

    monkeypatch.setattr("llm2llm.stages.prepare.load_tokenizer", surprise)
    merge(bench.student / "config.json", pad_token_id=100_000)
    (bench.student / WHOLE).write_bytes(POINTER)
    (bench.folder / "evaluation.jsonl").write_text("{}\n")
    with pytest.raises(StepError) as caught:
        bench.run("refused")
    assert caught.value.exit_code == 64
    for words in (
        "RuntimeError: Rust panicked at tokenizer.rs",
        "pad_token_id 100000",
        "Git LFS pointer",
        "evaluation",
    ):
        assert words in caught.value.message
    assert "in surprise" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset by peer"), TimeoutError("timed out"), OSError(5, "I/O error")]
)
def test_what_may_pass_by_itself_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("llm2llm.stages.prepare.load_tokenizer", fail)
    with pytest.raises(StepError) as caught:
        bench.run("refused")
    assert caught.value.exit_code == 75


MIXTURE = {
    "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2, "hidden_size": 32, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 64,
}  # fmt: skip
GEMMA_TEXT = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64, "model_type": "gemma3_text",
}  # fmt: skip
GEMMA = {
    "vision_config": {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    },
    "mm_tokens_per_image": 1, "image_token_index": 5, "boi_token_index": 6, "eoi_token_index": 7,
}  # fmt: skip


def remake(bench: Bench, model_type: str, config: dict[str, Any]) -> None:
    """Replaces the student by one of this type with random weights, and its tokenizer's special tokens."""
    for path in bench.student.glob("*.safetensors"):
        path.unlink()
    own = json.loads((bench.student / "config.json").read_text())
    (bench.student / "config.json").unlink()
    special = {name: own.get(name) for name in ("vocab_size", "pad_token_id", "eos_token_id", "bos_token_id")}
    if "vision_config" in config:
        config = {**config, "text_config": {**GEMMA_TEXT, **special}}
        made = CONFIG_MAPPING[model_type](**config)
    else:
        made = CONFIG_MAPPING[model_type](**config, **special)
    AutoModelForCausalLM.from_config(made).save_pretrained(str(bench.student))


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match")  # they name parameters
@pytest.mark.parametrize(("model_type", "config"), [("qwen3_moe", MIXTURE), ("gemma3", GEMMA)])
def test_a_mixture_of_experts_and_a_multimodal_base_are_trained_and_evaluated(
    bench: Bench, model_type: str, config: dict[str, Any]
) -> None:
    remake(bench, model_type, config)
    train = {**keyword.TRAIN, "hyperparameters": {**keyword.HYPERPARAMETERS, "numTrainEpochs": 1}, "minSteps": 1}
    train["lora"] = {**train.get("lora", {}), "dropout": "0"}
    run, store = bench.run("run", train=train)
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        report = run_step(run.step(stage), store, bench.context())
        run.add(report)
    assert report.metrics[0].examples > 0
    names = {name for name in keyword.adapter_bytes(store, 0) if name.endswith(".safetensors")}
    assert names
    [path] = (bench.folder / "run").rglob("adapter_model.safetensors")
    adapted = load_file(path)
    assert adapted
    assert not [name for name in adapted if "vision" in name or "multi_modal" in name]
    config_of_adapter = json.loads((path.parent / "adapter_config.json").read_text())
    for field in ("target_modules", "target_parameters"):
        value = config_of_adapter.get(field) or []
        assert list(value) == sorted(value)


def test_labels_that_differ_in_their_unicode_form_alone_are_refused(bench: Bench) -> None:
    labels = [*keyword.LABELS, "Z\u00fcrich", "Zu\u0308rich"]
    task = {"promptTemplate": "{{ text }}", "grader": {"type": "Choice"}, "labels": labels}
    with pytest.raises(ConfigurationError, match="are the same label in two Unicode forms"):
        bench.run("refused", task=task)
