"""The task of examples/keyword, for tests: its words, and an untrained student with the shapes of its base model.

Enough for every test that asks how training and evaluation behave; how well a student learns is measured on the
example's own data and pretrained student, which `make_example` writes.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.stages import step_folder
from llm2llm.loop.steps import parents
from llm2llm.records import Report, Stage, StepDocument
from llm2llm.runtime.context import Step
from llm2llm.storage import Store

CHECKOUT = Path(__file__).resolve().parents[2]
NO_WEIGHTS = (2).to_bytes(8, "little") + b"{}"
"""A file in the safetensors format without any weight, where nothing loads it."""
EXAMPLE = CHECKOUT / "examples" / "keyword"


def _load_task() -> ModuleType:
    """Imports the example's module by its path: the example is a folder of scripts and no package."""
    specification = importlib.util.spec_from_file_location("keyword_task", EXAMPLE / "task.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


task = _load_task()
FILLERS: list[str] = task.FILLERS
LABELS: list[str] = task.LABELS
WORDS: list[str] = task.VOCABULARY

HYPERPARAMETERS: dict[str, Any] = {
    "learningRate": "3e-3",
    "numTrainEpochs": 16,
    "effectiveBatchSize": 16,
    "maxLength": 64,
    "gradientCheckpointing": False,
}
TRAIN: dict[str, Any] = {
    "lora": {"r": 8, "alpha": 16, "dropout": "0.1"},
    "hyperparameters": HYPERPARAMETERS,
    "minSteps": 1,
}


def make_example(folder: Path, seed: int = 0) -> Path:
    """Writes the example's base model and both sets, as its make.py does."""
    make = [sys.executable, str(EXAMPLE / "make.py"), "--out", str(folder), "--seed", str(seed)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    return folder


def rows(per_class: int, seed: int, classes: int = len(LABELS)) -> list[dict[str, str]]:
    """Rows as they lie in a user's file."""
    rng = random.Random(seed)
    return [
        {"text": task.draw(label, rng).text, "label": LABELS[label]}
        for label in range(classes)
        for _ in range(per_class)
    ]


def jsonl(entries: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def write_student(folder: Path, seed: int = 0, spread: float = 0.02) -> Path:
    """An untrained student with its tokenizer, in the Hugging Face format.

    With a large `spread` of its weights an adapter does not outweigh them: what is lost of them in 4 bits shows.
    """
    import torch
    from transformers import LlamaForCausalLM

    write_tokenizer(folder)
    torch.manual_seed(seed)
    LlamaForCausalLM(config(spread)).save_pretrained(str(folder))
    return folder


def config(spread: float = 0.02) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=False,
        initializer_range=spread,
    )


def write_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> None:
    """A tokenizer that knows these words, and reads `<pad>` for every other."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.save_pretrained(str(folder))


def spec(*, seed_uri: str, evaluation_uri: str, model_uri: str, artifacts_uri: str, **changes: Any) -> dict[str, Any]:
    """A run's spec with the task's hyperparameters; `changes` are `a__b=value` paths."""
    fields = {"text": "text", "completion": "label"}
    document: dict[str, Any] = {
        "maxIterations": 1,
        "task": {"promptTemplate": "{{ text }} <sep>", "grader": {"type": "Choice"}, "labels": LABELS},
        "data": {"seed": {"uri": seed_uri, "fields": fields}, "evaluation": {"uri": evaluation_uri}},
        "student": {"model": {"uri": model_uri}},
        "artifacts": {"uri": artifacts_uri, "key": "run"},
        "train": copy.deepcopy(TRAIN),
        "evaluate": {"engine": "Transformers"},
        "generate": {"teacher": {"model": "teacher", "baseUrl": "http://127.0.0.1:9/v1"}, "examplesPerMistake": 3},
    }
    for path, value in changes.items():
        *folders, name = path.split("__")
        place = document
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = copy.deepcopy(value)
    return document


class Run:
    """The steps of one run, with the parents that the loop gives them."""

    def __init__(self, document: dict[str, Any], uid: str = "0123456789abcdef") -> None:
        self.document = document
        self.uid = uid
        self.reports: list[Report] = []

    def step(self, stage: Stage, iteration: int = 0, **more: Any) -> Step:
        outcomes = [StepResult.of(report) for report in self.reports]
        return Step.of(
            StepDocument(
                stage=stage,
                iteration=iteration,
                namespace="team-a",
                run="run",
                run_uid=self.uid,
                spec=self.document,
                parents=parents(AugmentationRunSpec.model_validate(self.document), StepId(stage, iteration), outcomes),
                **more,
            )
        )

    def add(self, report: Report) -> Report:
        self.reports.append(report)
        return report


def adapter_bytes(store: Store, iteration: int = 0) -> dict[str, bytes]:
    """The committed adapter's files."""
    manifest = json.loads(store.read(f"{step_folder(Stage.TRAIN, iteration)}/manifest.json"))
    return {entry["name"]: store.read(entry["key"]) for entry in manifest["objects"]}
