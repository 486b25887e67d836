"""A finished run in a folder, committed without any training, for what looks at a run's results or takes them away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm2llm.local.record import RunRecord
from llm2llm.records import Example, Lineage, Prediction, Resolved, Stage, to_jsonl
from llm2llm.results.targets import NamedRun
from llm2llm.storage import LocalStore
from tests.support import builders
from tests.support.steps import commit_step, step_of

SEEDS = [Example(id=f"s{number}", fields={"prompt": "p"}, completion="x") for number in range(2)]
HELD_OUT = [Example(id=f"e{number}", fields={"prompt": f"q{number}"}, completion="y") for number in range(2)]
TESTED = [Example(id="t0", fields={"prompt": "r0"}, completion="y")]
WEIGHTS = b"weights of iteration "
SCORES = (0.5, 0.7, 0.6)
BEST = 1


def finished_run(folder: Path, *, uri: str = "", sources: Mapping[str, str] | None = None, **changes: Any) -> NamedRun:
    """A run of three iterations, of which the second is best; each round kept one row.

    `changes` replace the spec's top-level fields; `uri` is what the store says its address is; `sources` are the
    digests of the user's files.
    """
    spec = builders.spec(maxIterations=3, **changes)
    part = "model" if spec.get("train", {}).get("method") == "Full" else "adapter"
    store = LocalStore(folder, uri)
    rows = {"seed.jsonl": to_jsonl(SEEDS), "evaluation.jsonl": to_jsonl(HELD_OUT), "test.jsonl": to_jsonl(TESTED)}
    resolved = Resolved(model_revision="abc", seed_count=40, evaluation_count=100, sources=sources)
    commit_step(store, step_of(Stage.PREPARE, **changes), rows, resolved=resolved)
    written: list[Example] = []
    for index, score in enumerate(SCORES):
        files: dict[str, bytes | Path] = {
            f"{part}/{part}_model.safetensors": WEIGHTS + str(index).encode(),
            f"{part}/tokenizer_config.json": b"{}",
            f"{part}/prompt_template.jinja": b"{{ prompt }}",
            "rows.json": b"[]",
        }
        if part == "adapter":
            files["adapter/adapter_config.json"] = json.dumps({"r": 16, "base_model_name_or_path": "s3://b"}).encode()
        commit_step(store, step_of(Stage.TRAIN, index, **changes), files)
        answers: dict[str, bytes | Path] = {
            f"predictions.{name}.jsonl": to_jsonl(answered(examples, right=index))
            for name, examples in (("seed", SEEDS), ("evaluation", HELD_OUT), ("synthetic", written))
            if examples
        }
        commit_step(store, step_of(Stage.EVALUATE, index, **changes), answers, metrics=(builders.accuracy(score),))
        lineage = Lineage(seed="s0", parent="s0", iteration=index, teacher="t")
        row = SEEDS[0].model_copy(update={"id": f"n{index}", "lineage": lineage})
        kept: dict[str, bytes | Path] = {"synthetic.jsonl": to_jsonl([row]), "rejected.jsonl": b""}
        commit_step(store, step_of(Stage.GENERATE, index, **changes), kept)
        written = [*written, row]
    tested: dict[str, bytes | Path] = {"predictions.test.jsonl": to_jsonl(answered(TESTED, right=1))}
    commit_step(store, step_of(Stage.TEST, BEST, **changes), tested, metrics=(builders.accuracy(0.6, "test"),))
    return NamedRun("run", store, record=RunRecord(name="r", namespace="ns", uid=builders.UID, spec=spec))


def answered(examples: list[Example], right: int) -> list[Prediction]:
    """The student's answers: the first `right` of them are."""
    return [
        Prediction(
            id=example.id,
            output=example.completion if number < right else "z",
            answer=example.completion if number < right else "z",
            correct=number < right,
            verdict="correct" if number < right else "wrong",
        )
        for number, example in enumerate(examples)
    ]
