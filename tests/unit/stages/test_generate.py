"""What a round may still spend, and the progress that it reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tworounds import Run

from llm2llm.records import Stage, Usage, to_jsonl
from llm2llm.runtime.context import StepContext
from llm2llm.stages.generate import _Progress, _reservations
from llm2llm.teacher.ledger import LedgerRecord, open_ledger


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
