"""The answers of an unfinished evaluation: read back as they were, and by their own experiment alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.steps import step_of

from llm2llm.artifacts.partials import PartialPredictions
from llm2llm.records import Prediction, Stage
from llm2llm.storage import LocalStore

STEP = step_of(Stage.EVALUATE)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def answer(row: str, output: str = "x") -> Prediction:
    return Prediction(id=row, output=output, answer=output or None, correct=False, verdict="wrong")


def test_a_part_gives_back_whatever_a_student_says(store: LocalStore) -> None:
    texts = ["", "a\nb", "a\r\nb", "a\u2028b\u2029", "\x85\x0b\x0c\x1c", '"quoted" \\', "\ufffd \U0001f600", "[1, 2]"]
    told = {("seed", str(number)): answer(str(number), text) for number, text in enumerate(texts)}
    PartialPredictions(store, STEP, "pod-1").keep(told)
    folder = next(iter(store.list(""))).rpartition("/")[0]
    for number, junk in enumerate((b"5\n", b"[1]\n", b'{"a": 1, "b": 2}\n', b"\xff\n", b'["seed", null]\n')):
        store.write(f"{folder}/junk-{number}.jsonl", junk)

    assert PartialPredictions(store, STEP, "pod-2").read() == told


def test_parts_of_all_pods_are_read_together(store: LocalStore):
    first, second = PartialPredictions(store, STEP, "pod-1"), PartialPredictions(store, STEP, "pod-2")
    first.keep({("seed", "1"): answer("1")})
    second.keep({("evaluation", "1"): answer("1")})
    first.keep({("seed", "2"): answer("2")})
    assert first.read().keys() == {("seed", "1"), ("seed", "2"), ("evaluation", "1")}
    assert len(list(store.list("iterations/000/evaluate/parts/"))) == 3


def test_another_experiments_answers_are_not_this_ones_and_stay(store: LocalStore):
    PartialPredictions(store, step_of(Stage.EVALUATE, randomSeed=3), "pod-1").keep({("seed", "1"): answer("1")})
    mine = PartialPredictions(store, STEP, "pod-1")
    assert mine.read() == {}
    mine.keep({("seed", "2"): answer("2")})
    mine.clear()
    assert mine.read() == {}
    assert len(list(store.list(""))) == 1
