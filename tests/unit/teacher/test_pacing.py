"""The pace finds a limit that nobody tells, and finds it again when it is halved: in virtual time.

The number to hold (docs/architecture.md):
at least 90 % of the allowed rate with at most 5 % rejected calls, after 30 s of warm-up and again from
30 s after the halving.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest
from tests.support.endpoints import AtOnce, FixedWindow, Limit, TokenBucket, play

from llm2llm import tokenbucket
from llm2llm.teacher.limits import bucket_per_minute
from llm2llm.teacher.pacing import AdaptivePace

WARM_UP = 30.0
MINUTE = 60.0
CEILING = 256

Seconds = Callable[[Random], float]


def quick(rng: Random) -> float:
    return rng.uniform(0.5, 1.5)


def slow(rng: Random) -> float:
    return rng.uniform(2.0, 6.0)


def whole_seconds(pause: float) -> float:
    return float(math.ceil(pause))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("limit", "allowed", "latency", "told", "window"),
    [
        pytest.param(lambda: TokenBucket(4, 4), 4, quick, None, 0, id="4 a second"),
        pytest.param(lambda: TokenBucket(10, 10), 10, quick, None, 0, id="10 a second"),
        pytest.param(lambda: TokenBucket(10, 10), 10, slow, None, 0, id="10 a second, slow answers"),
        pytest.param(lambda: TokenBucket(10, 10), 10, quick, whole_seconds, 0, id="10 a second, with Retry-After"),
        pytest.param(lambda: TokenBucket(40, 20), 40, quick, None, 0, id="40 a second, bursts of half a second"),
        pytest.param(lambda: TokenBucket(40, 40), 40, quick, whole_seconds, 0, id="40 a second, with Retry-After"),
        pytest.param(lambda: FixedWindow(600), 10, quick, None, MINUTE, id="600 in each minute"),
        pytest.param(lambda: FixedWindow(600), 10, slow, None, MINUTE, id="600 in each minute, slow answers"),
        pytest.param(lambda: FixedWindow(3000), 50, quick, None, MINUTE, id="3000 in each minute"),
        pytest.param(lambda: FixedWindow(600), 10, quick, whole_seconds, MINUTE, id="600, with Retry-After"),
        pytest.param(lambda: AtOnce(4), 1, slow, None, 0, id="4 at once"),
        pytest.param(lambda: AtOnce(16), 4, slow, None, 0, id="16 at once"),
        pytest.param(lambda: AtOnce(50), 12.5, slow, None, 0, id="50 at once"),
    ],
)
def test_nine_tenths_of_an_unknown_limit_are_used_and_one_call_in_twenty_is_refused_at_most(
    seed: int,
    limit: Callable[[], Limit],
    allowed: float,
    latency: Seconds,
    told: Callable[[float], float] | None,
    window: float,
):
    half = 330.0
    played = play(
        AdaptivePace(CEILING),
        limit(),
        seconds=2 * half,
        halved_at=half,
        latency=latency,
        retry_after=told or (lambda _: None),
        seed=seed,
    )
    for begin, end, rate in ((WARM_UP, half, allowed), (half + WARM_UP, 2 * half, allowed / 2)):
        # What a spent window refuses until its end is nobody's to use: whole windows are measured.
        first = math.ceil(begin / window) * window if window else begin
        last = math.floor(end / window) * window if window else end
        accepted, refused = played.between(first, last)
        assert accepted >= 0.9 * rate * (last - first)
        assert refused <= 0.05 * (accepted + refused)


def test_a_refused_key_or_model_is_met_by_one_request_alone():
    pace = AdaptivePace(8)
    pace.send(0.0)
    assert pace.wait(0.0) is None


def test_answers_open_it_up_to_the_ceiling_and_no_further():
    pace = AdaptivePace(8)
    for second in range(40):
        sent = [pace.send(float(second)) for _ in range(pace.slots)]
        for one in sent:
            pace.record_answer(one, second + 0.5)
    assert pace.slots == 8


def test_nobody_asks_before_retry_after_is_over():
    pace = AdaptivePace(8)
    pace.record_429(pace.send(0.0), 0.1, 20.0)
    assert pace.wait(0.1) == pytest.approx(20.0)
    assert pace.wait(20.1) == 0.0


def test_a_told_pause_is_believed_until_it_turns_out_too_short():
    pace = AdaptivePace(8)
    pace.record_429(pace.send(0.0), 0.1, 0.3)
    assert pace.wait(0.1) == pytest.approx(0.3)
    pace.record_429(pace.send(0.4), 0.5, 0.3)
    assert pace.wait(0.5) == pytest.approx(2.0)  # the second of its own, doubled


@pytest.mark.parametrize("told", [lambda pause: pause, whole_seconds], ids=["exactly", "in whole seconds"])
def test_with_the_pauses_that_it_tells_a_limit_without_a_burst_is_used_well(told: Callable[[float], float]):
    played = play(AdaptivePace(CEILING), TokenBucket(1, 1), seconds=330, halved_at=330, latency=quick, retry_after=told)
    accepted, refused = played.between(WARM_UP, 330)
    assert accepted >= 0.75 * (330 - WARM_UP)
    assert refused <= 0.05 * (accepted + refused)


def test_many_429_at_once_are_one_signal():
    pace = AdaptivePace(8, slots=8)
    sent = [pace.send(0.0) for _ in range(8)]
    for one in sent:
        pace.record_429(one, 0.1)
    assert pace.wait(0.1) == pytest.approx(1.0)  # one pause, not eight


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(None, id="and does not say until when"),
        pytest.param(0.0, id="and says: come back at once"),
        pytest.param(0.05, id="and says: come back in a moment"),
    ],
)
def test_an_endpoint_that_refuses_everything_is_asked_ever_more_rarely(told: float | None):
    pace, now, asked = AdaptivePace(8), 0.0, 0
    while now < 300:
        sent = pace.send(now)
        pace.record_429(sent, now + 0.05, told)
        asked += 1
        now += 0.05 + (pace.wait(now + 0.05) or 0.0)
    assert 30 <= asked <= 40


def sent_within(bucket: tokenbucket.TokenBucket, seconds: float, amount: float = 1.0) -> int:
    """Requests that one sender gets through in this time, asking again as soon as it may."""
    now = 0.0
    sent = 0
    while True:
        now += bucket.take(amount, now)
        if now >= seconds:
            return sent
        sent += 1


@pytest.mark.parametrize(
    ("per_minute", "seconds", "fewest", "most"),
    [
        pytest.param(60, 60, 60, 63, id="one a second, after a burst of three"),
        pytest.param(6000, 10, 1000, 1301, id="a hundred a second"),
        pytest.param(6, 60, 6, 7, id="fewer than one a second"),
    ],
)
def test_a_ceiling_a_minute_is_used_and_not_exceeded(per_minute: float, seconds: float, fewest: int, most: int):
    assert fewest <= sent_within(bucket_per_minute(per_minute), seconds) <= most


def test_tokens_that_were_reserved_and_not_used_are_there_for_others():
    bucket = bucket_per_minute(6000)  # 300 at once, 100 a second
    assert bucket.take(300, 0.0) == 0.0
    bucket.give_back(200)
    assert bucket.take(200, 0.0) == 0.0
    assert bucket.take(100, 0.0) == pytest.approx(1.0)


def test_an_answer_that_was_longer_than_reserved_is_owed():
    bucket = bucket_per_minute(6000)
    bucket.take(300, 0.0)
    bucket.give_back(-100)
    assert bucket.take(100, 0.0) == pytest.approx(2.0)


def test_without_a_ceiling_nothing_waits():
    bucket = bucket_per_minute(None)
    assert all(bucket.take(10**9, 0.0) == 0.0 for _ in range(100))
