import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm.api.data import Task
from llm2llm.errors import MetricInvalid
from llm2llm.records import Example, Prediction
from llm2llm.tasks import task_of
from llm2llm.tasks.scores import accuracy, confusion, macro_f1, score_predictions, wilson


@pytest.mark.parametrize(
    ("successes", "examples", "low", "high"),
    [
        pytest.param(0, 0, 0.0, 1.0, id="no example says nothing"),
        pytest.param(0, 10, 0.0, 0.2775, id="no success is not certainly zero"),
        pytest.param(10, 10, 0.7225, 1.0, id="all successes are not certainly one"),
        pytest.param(81, 263, 0.2553, 0.3662, id="the example of Newcombe (1998)"),
        pytest.param(128, 160, 0.7314, 0.8546, id="with 160 rows .80 is known to six points"),
    ],
)
def test_the_wilson_interval_has_the_textbook_values(successes: int, examples: int, low: float, high: float) -> None:
    assert wilson(successes, examples) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_within_zero_and_one(counts: tuple[int, int]) -> None:
    successes, examples = counts
    low, high = wilson(successes, examples)

    assert 0.0 <= low <= successes / examples <= high <= 1.0


def test_fault_38_an_accuracy_of_no_rows_is_not_a_number() -> None:
    with pytest.raises(MetricInvalid, match="evaluation set"):
        accuracy("evaluation", [])


def test_accuracy_tells_its_sample() -> None:
    predictions = [
        Prediction(id=str(n), output="", correct=n < 3, verdict="correct" if n < 3 else "wrong") for n in range(4)
    ]

    assert accuracy("seed", predictions).model_dump() == {
        "name": "accuracy",
        "dataset": "seed",
        "value": 0.75,
        "examples": 4,
        "low": pytest.approx(0.3006, abs=1e-4),
        "high": pytest.approx(0.9544, abs=1e-4),
    }


CHOICE = task_of(Task.model_validate({"promptTemplate": "x", "grader": {"type": "Choice"}, "labels": ["a", "b", "c"]}))


def row(truth: str, answer: str | None, verdict: str = "") -> tuple[Example, Prediction]:
    verdict = verdict or ("noAnswer" if answer is None else "correct" if truth == answer else "wrong")
    told = Prediction(id="1", output="", answer=answer, correct=verdict == "correct", verdict=verdict)
    return Example(id="1", fields={}, completion=truth), told


def split(pairs: list[tuple[Example, Prediction]]) -> tuple[list[Example], list[Prediction]]:
    return [example for example, _ in pairs], [prediction for _, prediction in pairs]


@pytest.mark.parametrize(
    ("rows", "value"),
    [
        pytest.param([("a", "a"), ("b", "b")], 1.0, id="all right"),
        pytest.param([("a", "b"), ("b", "a")], 0.0, id="all wrong"),
        # a: tp 2, fp 1, fn 0 -> 4/5; b: tp 0, fp 0, fn 1 -> 0
        pytest.param([("a", "a"), ("a", "a"), ("b", "a")], 0.4, id="a class that is never answered has F1 0"),
        # a: tp 1, fn 1 -> 2/3; the label c occurs in no gold answer
        pytest.param([("a", "a"), ("a", "c")], 2 / 3, id="a label that no row has is not part of the mean"),
        # a: tp 1, fp 0, fn 1 -> 2/3; b: tp 1 -> 1
        pytest.param([("a", "a"), ("a", None), ("b", "b")], 5 / 6, id="no label is a miss of one and a false alarm of none"),
        # a: 2*8/(8+9) of 8 gold; b: 2*1/(2+1)
        pytest.param([("a", "a")] * 8 + [("b", "a"), ("b", "b")], (16 / 17 + 2 / 3) / 2, id="rare classes count as much"),
    ],
)  # fmt: skip
def test_macro_f1_is_the_mean_over_the_classes_that_occur(rows: list[tuple[str, str | None]], value: float) -> None:
    metric = macro_f1("test", confusion(*split([row(*each) for each in rows]), CHOICE))

    assert metric.value == pytest.approx(value)
    assert metric.low <= metric.value <= metric.high
    assert (metric.name, metric.examples) == ("macroF1", len(rows))


def test_an_answer_that_was_cut_off_is_no_prediction_even_if_it_begins_like_one() -> None:
    pairs = [row("a", "b", "truncated"), row("b", "b")]

    assert macro_f1("test", confusion(*split(pairs), CHOICE)).value == 0.5


def test_the_bootstrap_is_repeatable_narrows_with_rows_and_leaves_room_where_all_is_right() -> None:
    few: dict[tuple[str, str | None], int] = {("a", "a"): 12, ("a", "b"): 8, ("b", "b"): 15, ("b", "a"): 5}
    first, again = macro_f1("test", few), macro_f1("test", few)
    many = macro_f1("test", {cell: 25 * count for cell, count in few.items()})
    perfect = macro_f1("test", {("a", "a"): 10, ("b", "b"): 10})

    assert first == again
    assert many.value == first.value
    assert 0 < many.high - many.low < (first.high - first.low) / 3
    assert (perfect.low, perfect.high) == pytest.approx(wilson(20, 20), abs=1e-6)


def test_the_order_of_the_rows_says_nothing() -> None:
    counts = {("a", "a"): 12, ("a", "b"): 8, ("a", None): 3, ("b", "b"): 15, ("b", "a"): 5}

    assert macro_f1("test", dict(reversed(counts.items()))) == macro_f1("test", counts)


def test_half_of_40_rows_right_has_about_the_interval_of_an_accuracy() -> None:
    metric = macro_f1("test", {("a", "a"): 100, ("a", "b"): 100, ("b", "b"): 100, ("b", "a"): 100})

    assert (metric.low, metric.high) == pytest.approx(wilson(200, 400), abs=0.02)


def test_scores_tell_each_class_and_leave_classes_out_where_there_are_no_labels() -> None:
    examples, predictions = zip(*[row("a", "a"), row("a", "b"), row("b", "b"), row("c", None)], strict=True)
    metrics, document = score_predictions("seed", examples, predictions, CHOICE)
    plain, without = score_predictions(
        "seed", examples, predictions, task_of(Task.model_validate({"promptTemplate": "x"}))
    )

    assert [metric.name for metric in metrics] == ["accuracy", "macroF1"]
    assert document["classes"] == [
        {"label": "a", "examples": 2, "right": 1, "accuracy": 0.5, "f1": 0.666667},
        {"label": "b", "examples": 1, "right": 1, "accuracy": 1.0, "f1": 0.666667},
        {"label": "c", "examples": 1, "right": 0, "accuracy": 0.0, "f1": 0.0},
    ]
    assert [metric.name for metric in plain] == ["accuracy"]
    assert "classes" not in without


def test_fault_38_a_macro_f1_of_no_rows_is_not_a_number() -> None:
    with pytest.raises(MetricInvalid, match="macroF1 on the seed set"):
        macro_f1("seed", {})
