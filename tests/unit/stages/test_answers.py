"""How long an answer may be, by which numbers it is sampled, and what is kept of those that were given."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.partials import PartialPredictions, RowKey
from llm2llm.errors import Terminated
from llm2llm.records import Example, Prediction, Stage, StepDocument
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.answers import _predict_in_parts, _Question, _sampling_settings, token_limit
from llm2llm.storage import LocalStore

ROWS = [Example(id=str(number), fields={}, completion="yes") for number in range(6)]


@pytest.mark.parametrize(
    ("completions", "limit"),
    [
        pytest.param([1, 5, 3], 10, id="twice the longest completion of a seed, EOS aside"),
        pytest.param([1], 4, id="some tokens at least, for a student that begins with a space"),
        pytest.param([2], 4, id="two"),
    ],
)
def test_an_answer_may_be_twice_as_long_as_the_longest_that_was_taught(completions: list[int], limit: int) -> None:
    assert token_limit([length + 1 for length in completions]) == limit


def spec(temperature: str, seed: int = 0) -> AugmentationRunSpec:
    sampling = {"engine": "Transformers", "sampling": {"temperature": temperature}}
    return AugmentationRunSpec.model_validate(builders.spec(randomSeed=seed, evaluate=sampling))


def test_a_row_is_sampled_by_the_same_number_whatever_else_is_asked() -> None:
    whole = _sampling_settings(ROWS, spec("0.7"))
    others = _sampling_settings(ROWS[3:], spec("0.7"))
    another_seed = _sampling_settings(ROWS, spec("0.7", seed=1))

    assert whole
    assert others
    assert another_seed
    assert whole.temperature == 0.7
    assert others.seeds == whole.seeds[3:]
    assert len({*whole.seeds, *another_seed.seeds}) == 2 * len(ROWS)
    assert all(0 <= seed < 2**63 for seed in whole.seeds)  # what torch and vLLM take


def test_at_temperature_0_nothing_is_sampled() -> None:
    assert _sampling_settings(ROWS, spec("0")) is None
    assert _sampling_settings(ROWS, spec("0.0")) is None


class Evaluation:
    """Answers the rows two at a time; a batch takes `seconds`, and SIGTERM comes after `stop` of them."""

    def __init__(self, folder: Path, seconds: float = 1.0, stop: int = 99) -> None:
        fields = {"stage": Stage.EVALUATE, "namespace": "ns", "run": "r", "run_uid": "u", "spec": builders.spec()}
        self.step = Step.of(StepDocument.model_validate(fields))
        self.store = LocalStore(folder)
        self.events: list[dict[str, Any]] = []
        self.asked: list[list[str]] = []
        self.closed = False
        self.context = StepContext(
            "pod", folder, progress=lambda event: self.events.append(dict(event)), clock=lambda: seconds * len(self.asked)
        )  # fmt: skip
        self.stop = stop

    def predict(self, left: Sequence[_Question]) -> Generator[dict[RowKey, Prediction]]:
        try:
            for begin in range(0, len(left), 2):
                batch = [question.place for question in left[begin : begin + 2]]
                self.asked.append([row for _, row in batch])
                if len(self.asked) >= self.stop:
                    self.context.stopping.set()
                yield {place: Prediction(id=place[1], output="", correct=True, verdict="correct") for place in batch}
                yield {}  # an engine gives control now and then
        finally:
            self.closed = True

    def run(self) -> dict[RowKey, Prediction]:
        questions = [_Question(("seed", row.id), row, [1], 4) for row in ROWS]

        def predict(left: Sequence[_Question]) -> Generator[dict[RowKey, Prediction]]:
            self.batches = self.predict(left)  # held, so that nothing but `close` ends it
            return self.batches

        return _predict_in_parts(questions, predict, self.step, self.store, self.context)

    def kept(self) -> int:
        return len(PartialPredictions(self.store, self.step, "another").read())


def test_an_evaluation_that_is_stopped_keeps_its_answers_and_the_next_asks_for_the_others(tmp_path: Path) -> None:
    first = Evaluation(tmp_path, stop=2)
    with pytest.raises(Terminated, match="the answers so far are in the store"):
        first.run()
    second = Evaluation(tmp_path)

    assert (first.asked, first.kept(), first.closed) == ([["0", "1"], ["2", "3"]], 4, True)
    assert second.run().keys() == {("seed", row.id) for row in ROWS}
    assert second.asked == [["4", "5"]]
    assert second.events[0] == {"stage": "Evaluate", "iteration": 0, "answeredBefore": 4}
    assert [event["step"] for event in second.events[1:]] == [6]


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [pytest.param(29.0, 0, id="less than a minute"), pytest.param(30.0, 4, id="every minute"), pytest.param(60.0, 4, id="each batch")],
)  # fmt: skip
def test_answers_are_kept_every_minute_and_the_last_ones_are_left_to_the_commit(
    tmp_path: Path, seconds: float, kept: int
) -> None:
    evaluation = Evaluation(tmp_path, seconds)
    assert len(evaluation.run()) == len(ROWS)
    assert evaluation.kept() == kept
    assert evaluation.closed
