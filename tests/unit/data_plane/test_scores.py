import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm.errors import MetricInvalid
from llm2llm.records import Prediction
from llm2llm.stages.scores import accuracy, wilson


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
