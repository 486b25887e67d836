"""What a round is made of: the inputs that it reads, what it may still spend, and the progress that it reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.artifacts.commit import commit
from llm2llm.loop.stages import step_folder
from llm2llm.records import Example, Lineage, Prediction, Report, Stage, StepDocument, Usage, to_jsonl
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.generate import _Progress, _read_inputs, _reservations
from llm2llm.stages.round import Round, begin_round
from llm2llm.storage import LocalStore
from llm2llm.teacher.ledger import LedgerRecord, open_ledger


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

    def round(self, **changes: int) -> Round:
        step = self.step(Stage.GENERATE, 2, **changes)
        return begin_round(step.spec, 2, _read_inputs(step, self.store))


def test_a_round_is_for_the_mistakes_of_its_iteration_the_seeds_first_and_never_for_held_out_rows(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    run.evaluated(2, synthetic=["a/2", "b/1"], seed=["c", "a"], evaluation=["e"])
    found = _read_inputs(run.step(Stage.GENERATE, 2), run.store)

    assert [(mistake.example.id, mistake.output) for mistake in found.mistakes] == [
        ("a", "not a"), ("c", "not c"), ("b/1", "not b/1"), ("a/2", "not a/2"),
    ]  # fmt: skip
    assert [row.id for row in found.held_out] == ["e", "t"]
    assert [row.id for row in found.synthetic] == ["b/1", "a/1", "a/2"]
    assert {seed: [row.id for row in rows] for seed, rows in found.by_seed.items()} == {
        "a": ["a/1", "a/2"], "b": ["b/1"],
    }  # fmt: skip


def test_prepare_and_the_rounds_before_it_have_used_a_part_of_the_budget(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.evaluated(2, seed=["a"])
    found = _read_inputs(run.step(Stage.GENERATE, 2), run.store)

    assert (found.paid.teacher_requests, found.paid.teacher_input_tokens) == (3, 111)


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        pytest.param({}, 0, id="no limit"),
        pytest.param({"max_tokens": "300"}, 300, id="max_tokens"),
        pytest.param({"max_tokens": "300", "max_completion_tokens": "200"}, 200, id="its newer name counts"),
        pytest.param({"max_tokens": "many"}, 0, id="what is no number, which the endpoint will refuse"),
    ],
)
def test_an_answer_is_reserved_by_the_limit_of_the_parameters_beside_what_all_attempts_have_spent(
    tmp_path: Path, parameters: dict[str, str], limit: int
) -> None:
    run = Run(tmp_path, teacher={"model": "t", "baseUrl": "http://teacher/v1", "parameters": parameters})
    run.evaluated(2, seed=["a"])
    lost = LedgerRecord(
        key="k", iteration=2, seed="a", sample=1, wave=0, model="t", outcome="lost", input_tokens=1000, output_tokens=7
    )
    run.store.write("ledger/pod-0/000000.jsonl", to_jsonl([lost]))
    ledger = open_ledger(run.store, "ledger", "pod-1", lambda: 0)
    reservations = _reservations(run.round(), run.step(Stage.GENERATE, 2, gpu_seconds=60), ledger)

    assert reservations.output_limit == limit
    assert reservations.spent.gpu_seconds == 60
    assert reservations.spent.usage == Usage(teacher_requests=4, teacher_input_tokens=1111, teacher_output_tokens=7)


def test_answers_are_told_once_a_second_and_the_last_one_always(tmp_path: Path) -> None:
    times = iter([0.0, 0.0, 0.4, 1.0, 1.9, 1.95])
    told: list[dict[str, object]] = []
    context = StepContext("pod", tmp_path, clock=lambda: next(times), progress=lambda event: told.append(dict(event)))
    answered = _Progress(context, Run(tmp_path).step(Stage.GENERATE, 2), wave=1, wanted=5)
    for _ in range(5):
        answered()

    assert [event["step"] for event in told] == [1, 3, 5]
    assert told[0] == {"stage": "Generate", "iteration": 2, "wave": 1, "step": 1, "steps": 5}
