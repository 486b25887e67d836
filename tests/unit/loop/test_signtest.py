from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llm2llm.loop.signtest import compare, is_better, p_value
from llm2llm.records import Paired


@pytest.mark.parametrize(
    ("gained", "lost", "more_than_chance"),
    [
        pytest.param(0, 0, False, id="nothing changed"),
        pytest.param(4, 0, False, id="four of four: 1 in 16"),
        pytest.param(5, 0, True, id="five of five: 1 in 32"),
        pytest.param(0, 9, False, id="worse is not better"),
        pytest.param(10, 10, False, id="as many lost as gained"),
        pytest.param(14, 6, False, id="14 of 20: .0577"),
        pytest.param(15, 5, True, id="15 of 20: .0207"),
        pytest.param(27, 23, False, id="the swing of an equal student"),
        pytest.param(5250, 4750, True, id="many rows need a small majority"),
    ],
)
def test_a_gain_is_more_than_chance_at_one_in_twenty(gained: int, lost: int, more_than_chance: bool):
    assert is_better(gained, lost) is more_than_chance


@given(some.integers(0, 60), some.integers(0, 60))
def test_the_test_is_the_tail_of_the_binomial(gained: int, lost: int):
    tail = sum(comb(gained + lost, k) for k in range(gained, gained + lost + 1)) / 2 ** (gained + lost)
    assert is_better(gained, lost) == (tail <= 0.05 and gained > lost)


def test_only_rows_that_both_were_asked_are_compared():
    before = {"a": True, "b": False, "c": False, "only before": False}
    now = {"a": False, "b": True, "c": False, "only now": True}
    assert compare(2, "seed", before, now) == Paired(against=2, dataset="seed", examples=3, gained=1, lost=1)
    assert compare(2, "seed", {"x": True}, now) is None


@given(some.integers(0, 60), some.integers(0, 60))
def test_the_p_value_is_twice_the_smaller_tail(gained: int, lost: int):
    changed, fewer = gained + lost, min(gained, lost)
    assert p_value(gained, lost) == min(1.0, 2 * sum(comb(changed, n) for n in range(fewer + 1)) / 2**changed)


def test_many_rows_have_a_p_value_too():
    assert p_value(5250, 4750) == pytest.approx(5.9e-7, rel=0.05)
    assert p_value(0, 5000) == 0.0
