"""A run after two rounds, of a few rows, whose steps are committed without any work."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import parent_manifest
from llm2llm.loop.stages import step_folder
from llm2llm.records import Example, Lineage, Prediction, Report, Stage, StepDocument, Usage, to_jsonl
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.round import Round, RoundInputs, begin_round
from llm2llm.stages.round_inputs import read_inputs
from llm2llm.storage import LocalStore
from tests.support import builders


def paid(tokens: int) -> Usage:
    return Usage(teacher_requests=1, teacher_input_tokens=tokens, teacher_output_tokens=0)


def example(name: str) -> Example:
    """A row of the seed set, or for `seed/name` one that was written for a seed."""
    seed, _, written = name.partition("/")
    lineage = Lineage(seed=seed, parent=seed) if written else None
    return Example(id=name, fields={"prompt": name}, completion="yes", lineage=lineage)


class Run:
    """A run after two rounds, whose second evaluation is committed."""

    def __init__(self, folder: Path, **generate: Any) -> None:
        self.store = LocalStore(folder)
        self.spec = builders.spec(generate=builders.spec()["generate"] | generate)
        self.digests: dict[str, str] = {}
        sets = {"seed.jsonl": ["a", "b", "c"], "evaluation.jsonl": ["e"], "test.jsonl": ["t"]}
        self.commits(Stage.PREPARE, 0, {name: map(example, rows) for name, rows in sets.items()}, 1)
        self.commits(Stage.GENERATE, 0, {"synthetic.jsonl": map(example, ["b/1", "a/1"])}, 10)
        self.commits(Stage.GENERATE, 1, {"synthetic.jsonl": map(example, ["a/2"])}, 100)

    def step(self, stage: Stage, iteration: int, gpu_seconds: int = 0) -> Step:
        fields = {"namespace": "ns", "run": "r", "run_uid": "u", "spec": self.spec, "parents": self.digests}
        document = fields | {"stage": stage, "iteration": iteration, "gpu_seconds": gpu_seconds}
        return Step.of(StepDocument.model_validate(document))

    def commits(self, stage: Stage, iteration: int, sets: dict[str, Any], tokens: int = 0) -> None:
        report = Report(run_uid="u", stage=stage, iteration=iteration, usage=paid(tokens))
        files = {name: to_jsonl(rows) for name, rows in sets.items()}
        told = commit(self.store, self.step(stage, iteration), StepContext("pod", Path()), files, report)
        self.digests[step_folder(stage, iteration)] = told.digest

    def evaluated(self, iteration: int, **wrong: list[str]) -> None:
        """Commits an evaluation in which only these rows of each set are wrong."""
        names = {"seed": ["a", "b", "c"], "synthetic": ["b/1", "a/1", "a/2"], "evaluation": ["e"]}
        sets = {
            f"predictions.{dataset}.jsonl": [
                Prediction(id=name, output=f"not {name}", correct=name not in rows, verdict="") for name in names[dataset]
            ]
            for dataset, rows in wrong.items()
        }  # fmt: skip
        self.commits(Stage.EVALUATE, iteration, sets)

    def inputs(self, step: Step) -> RoundInputs:
        return read_inputs(self.store, step.iteration, partial(parent_manifest, self.store, step))

    def round(self, **changes: int) -> Round:
        step = self.step(Stage.GENERATE, 2, **changes)
        return begin_round(step.spec, 2, self.inputs(step))
