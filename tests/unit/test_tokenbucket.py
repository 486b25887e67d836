"""The token bucket owes what is taken before it is there."""

from __future__ import annotations

import pytest

from llm2llm.tokenbucket import TokenBucket


def test_a_full_bucket_lets_a_burst_through_and_then_the_rate():
    bucket = TokenBucket(10, burst=3)
    assert [bucket.take(1, 100.0) for _ in range(5)] == [0, 0, 0, pytest.approx(0.1), pytest.approx(0.2)]


def test_it_never_holds_more_than_its_burst():
    bucket = TokenBucket(10, burst=3)
    assert bucket.take(3, 0.0) == 0
    assert [bucket.take(1, 60.0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]


def test_a_changed_rate_counts_from_then_on():
    bucket = TokenBucket(10, burst=1)
    bucket.take(1, 0.0)
    bucket.rate = 1
    assert bucket.take(1, 0.0) == pytest.approx(1.0)
    assert bucket.refill(1.0) == 1.0
    assert bucket.tokens == pytest.approx(0.0)


def test_what_is_given_back_is_there_for_others():
    bucket = TokenBucket(1, burst=5)
    bucket.take(5, 0.0)
    bucket.give_back(2)
    assert bucket.take(2, 0.0) == 0
    bucket.give_back(-1)
    assert bucket.take(0, 0.0) == pytest.approx(1.0)


def test_without_a_rate_nothing_waits():
    bucket = TokenBucket(None)
    assert all(bucket.take(10**9, 0.0) == 0 for _ in range(10))
