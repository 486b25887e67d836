"""What is told of a seed row over the iterations."""

from __future__ import annotations

import pytest

from llm2llm.records import Example, Prediction
from llm2llm.report.history import OUTPUT_LIMIT, SeedHistory, histories


def answered(row: str, correct: bool, output: str = "an answer") -> Prediction:
    return Prediction(id=row, output=output, correct=correct, verdict="correct" if correct else "wrong")


def history(verdicts: str) -> SeedHistory:
    """A seed row's history: + is right, - is wrong, . was not asked."""
    seed = Example(id="s", fields={}, completion="x")
    asked = {index: [answered("s", verdict == "+")] for index, verdict in enumerate(verdicts) if verdict != "."}
    return histories([seed], asked)[0]


@pytest.mark.parametrize(
    ("verdicts", "learned", "forgotten", "suspect"),
    [
        pytest.param("-++", [1], [], False, id="learned once"),
        pytest.param("-+-+", [1, 3], [2], False, id="learned, forgotten and learned again"),
        pytest.param("+-", [], [1], False, id="forgotten"),
        pytest.param("---", [], [], True, id="wrong three times"),
        pytest.param("-+-+-", [1, 3], [2, 4], True, id="wrong three times, though not on end"),
        pytest.param("-...+", [4], [], False, id="compared with the last that was asked"),
        pytest.param("", [], [], False, id="never asked"),
    ],
)
def test_the_history_of_a_seed_row(verdicts: str, learned: list[int], forgotten: list[int], suspect: bool) -> None:
    seed = history(verdicts)
    assert (seed.learned, seed.forgotten, seed.suspect) == (learned, forgotten, suspect)
    assert ("answers" in seed.document()) == suspect


def test_a_line_of_seeds_jsonl_has_the_published_names():
    """`learnt` stays: readers of earlier files know it."""
    assert history("-+").document() == {
        "id": "s",
        "completion": "x",
        "verdicts": {"0": "wrong", "1": "correct"},
        "learnt": [1],
        "forgotten": [],
        "suspect": False,
    }


def test_a_suspect_row_shows_its_wrong_answers_alone_and_cut():
    seed = Example(id="s", fields={}, completion="x")
    long = "y" * (OUTPUT_LIMIT + 1)
    row = SeedHistory(
        seed,
        [(0, answered("s", False, long)), (1, answered("s", True)), *((n, answered("s", False, "z")) for n in (2, 3))],
    )
    assert row.document()["answers"] == {"0": long[:-1], "2": "z", "3": "z"}


def test_rows_come_in_the_order_of_the_seed_set_and_answers_in_that_of_the_iterations():
    seeds = [Example(id=name, fields={}, completion="x") for name in ("b", "a", "never")]
    rows = histories(
        seeds,
        {2: [answered("a", True)], 0: [answered("a", False), answered("b", True), answered("of another set", True)]},
    )
    assert [(row.example.id, [iteration for iteration, _ in row.answers]) for row in rows] == [
        ("b", [0]),
        ("a", [0, 2]),
        ("never", []),
    ]
