"""Every problem of a run is reported with its path, in words for people who write YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm2llm.errors import InvalidManifest
from llm2llm.manifests.problems import validate_spec

RUN = Path(__file__).resolve().parents[3] / "examples" / "keyword" / "run.yaml"


def changed(path: str, value: object) -> dict[str, Any]:
    """The example with another value at this path; without the field if it is None."""
    document: dict[str, Any] = yaml.safe_load(RUN.read_text())
    *parents, last = path.split(".")
    target = document
    for parent in parents:
        target = target.setdefault(parent, {})
    if value is None:
        del target[last]
    else:
        target[last] = value
    return document


def problems(document: Mapping[Any, Any]) -> list[str]:
    with pytest.raises(InvalidManifest) as refused:
        validate_spec(document)
    return refused.value.problems


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("spec.train.lora.r", 0, "spec.train.lora.r: must be at least 1"),
        ("spec.maxIterations", 65, "spec.maxIterations: must be at most 64"),
        ("spec.maxIterations", "5", "spec.maxIterations: must be a whole number, not '5'"),
        ("spec.train.lora.rank", 8, "spec.train.lora.rank: unknown field"),
        (
            "spec.task.labels",
            ["a", "b", "a"],
            "spec.task.labels: 'a' and 'a' are the same label, ignoring case and whitespace",
        ),
        ("spec.task.labels", ["New York", "x", " new  YORK"], "'New York' and ' new  YORK' are the same label"),
        ("spec.task.labels", ["Stra\u00dfe", "STRASSE"], "'Stra\u00dfe' and 'STRASSE' are the same label"),
        ("spec.task.labels", ["a", ""], "spec.task.labels: must not contain a blank label: no answer can match it"),
        ("spec.task.labels", ["a", "\u00a0"], "spec.task.labels: must not contain a blank label"),
        ("spec.maxIteration", 8, "spec.maxIteration: unknown field: did you mean maxIterations?"),
        (
            "spec.train.hyperparameters.learning_rate",
            "1e-4",
            "learning_rate: unknown field: did you mean learningRate?",
        ),
        ("spec.train.hyperparameters.LEARNINGRATE", "1e-4", "LEARNINGRATE: unknown field: did you mean learningRate?"),
        ("spec.train.hyperparameters.numEpochs", 3, "numEpochs: unknown field: use numTrainEpochs"),
        (
            "spec.train.hyperparameters.perDeviceTrainBatchSize",
            8,
            "unknown field: use effectiveBatchSize, the number of examples per",
        ),
        (
            "spec.train.hyperparameters.per_device_train_batch_size",
            8,
            "unknown field: use effectiveBatchSize, the number of",
        ),
        (
            "spec.train.hyperparameters.gradientAccumulationSteps",
            8,
            "unknown field: use effectiveBatchSize, the number of",
        ),
        ("spec.train.hyperparameters.lr", "1e-4", "lr: unknown field: use learningRate\n"),
        ("spec.train.hyperparameters.seed", 1, "seed: unknown field: use spec.randomSeed\n"),
        (
            "spec.train.hyperparameters.optim",
            "adamw_torch",
            "optim: unknown field: remove it, the optimizer is always AdamW",
        ),
        ("spec.train.hyperparameters.packing", True, "packing: unknown field: remove it, rows are packed"),
        ("spec.train.hyperparameters.minSteps", 5, "minSteps: unknown field: use spec.train.minSteps\n"),
        ("spec.train.hyperparameters.min_steps", 5, "min_steps: unknown field: use spec.train.minSteps\n"),
        ("spec.train.hyperparameters.max_steps", 5, "use numTrainEpochs or spec.train.minSteps\n"),
        ("spec.train.hyperparameters.batch", 8, "batch: unknown field: use effectiveBatchSize, the number of"),
        ("spec.train.hyperparameters.microBatch", 8, "unknown field: use effectiveBatchSize, the number of"),
        (
            "spec.train.hyperparameters.micro_batch_size",
            8,
            "unknown field: use effectiveBatchSize, the number of",
        ),
        (
            "spec.train.hyperparameters.accumulationSteps",
            8,
            "unknown field: use effectiveBatchSize, the number of",
        ),
        (
            "spec.train.hyperparameters.per_device_batch",
            8,
            "unknown field: use effectiveBatchSize, the number of",
        ),
        ("spec.train.hyperparameters.epochs", 3, "epochs: unknown field: use numTrainEpochs\n"),
        ("spec.train.hyperparameters.bf16", True, "bf16: unknown field: use spec.train.precision\n"),
        ("spec.train.hyperparameters.warmup_steps", 8, "warmup_steps: unknown field: use warmupRatio"),
        (
            "spec.generate.teacher.baseURL",
            "http://x",
            "spec.generate.teacher.baseURL: unknown field: did you mean baseUrl?",
        ),
        ("spec.train.hyperparameters.frobnicate", 8, "spec.train.hyperparameters.frobnicate: unknown field\n"),
        ("spec.train.lora.dropout", 0.1, 'spec.train.lora.dropout: must be a string: write "0.1"'),
        ("spec.train.method", "QLORA", "spec.train.method: must be 'LoRA', 'QLoRA' or 'Full'"),
        ("spec.student.model.uri", None, "spec.student.model.uri: is required"),
        (
            "spec.student.model.uri",
            "/models/x",
            "spec.student.model.uri: must be a URI that begins with hf://, s3://, pvc:// or file://, not '/models/x'",
        ),
        ("spec.task.labels", [], "spec.task.labels: must not be empty if grader.type is Choice"),
        ("spec.task.labels", "a,b", "spec.task.labels: must be a list"),
        ("spec.data", "s3://x", "spec.data: must be a mapping"),
        ("spec.suspend", "no", "spec.suspend: must be true or false"),
        ("spec.task.promptTemplate", "", "spec.task.promptTemplate: must not be empty"),
        ("spec.train.env", [{"name": "LLM2LLM_STEP", "value": "x"}], "spec.train.env[0].name: names that start with"),
        ("metadata.name", "my.run", "metadata.name: must be a DNS label of at most 40 characters"),
        ("metadata.name", "a" * 41, "metadata.name: must be a DNS label of at most 40 characters"),
        ("metadata.name", None, "metadata.name: is required"),
        ("apiVersion", "v1", "apiVersion: must be llm2llm.dev/v1alpha1"),
        ("specs", {}, "specs: unknown field"),
    ],
)
def test_problem(path: str, value: object, told: str):
    assert told in "".join(f"{problem}\n" for problem in problems(changed(path, value)))


def test_no_password_of_an_address_is_shown():
    [problem] = problems(changed("spec.generate.teacher.baseUrl", "htps://me:hush@host/v1"))
    assert "not 'htps://host/v1'" in problem
    assert "hush" not in problem


@pytest.mark.parametrize(
    "path", ["spec.maxIterations", "spec.task.promptTemplate", "spec.budget.maxCost", "spec.suspend"]
)
def test_a_value_of_any_length_is_told_in_a_sentence(path: str):
    found = "".join(problems(changed(path, "1" * 20_000)))
    assert len(found) < 1000
    assert found.startswith(path)


def test_keys_that_yaml_reads_as_other_types_are_unknown_fields_too():
    """`y: 1` beside `specs: {}`: YAML 1.1 makes a boolean of the first."""
    assert problems(changed("specs", {}) | {True: 1, 2: 3, None: 4}) == [
        f"{key}: unknown field" for key in ("2", "None", "True", "specs")
    ]
