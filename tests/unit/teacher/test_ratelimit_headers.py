"""Limits that an endpoint tells in headers, in each vendor's way."""

from __future__ import annotations

import httpx
import pytest
from tests.support.mockteacher import complete

from llm2llm.teacher.client import RateLimited
from llm2llm.teacher.ratelimit_headers import (
    HeaderQuota,
    RateLimitHeader,
    read_ratelimit_headers,
    retry_after,
    seconds_until,
)

NOW = 1_700_000_000.0
"""2023-11-14T22:13:20Z."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("12", 12.0),
        ("0.5", 0.5),
        pytest.param("1700000030", 30.0, id="epoch seconds"),
        pytest.param("1700000030000", 30.0, id="epoch milliseconds"),
        pytest.param("1699999990", 0.0, id="a time that is over"),
        pytest.param("2023-11-14T22:13:50Z", 30.0, id="ISO 8601"),
        ("", None),
        ("soon", None),
        ("1s and more", None),
        ("-3", None),
        ("inf", None),
    ],
)
def test_a_duration_or_a_time_is_read(text: str, seconds: float | None):
    assert seconds_until(text, NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        pytest.param({"retry-after": "Tue, 14 Nov 2023 22:13:10 GMT"}, 0.0, id="a date that is over"),
        pytest.param(
            {"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": "Tue, 14 Nov 2023 22:13:40 GMT"},
            10.0,
            id="a date by a clock that is ahead of this one",
        ),
        pytest.param(
            {"retry-after": "Tue, 14 Nov 2023 22:12:50 GMT", "date": "Tue, 14 Nov 2023 22:12:20 GMT"},
            30.0,
            id="a date by a clock that is behind this one",
        ),
        pytest.param(
            {"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": "now"}, 30.0, id="an answer without a date"
        ),
        pytest.param({"retry-after": "20", "date": "Tue, 14 Nov 2023 22:12:20 GMT"}, 20.0, id="seconds need no clock"),
        pytest.param({"retry-after": f"Tue, 14 Nov {10**20} 22:13:50 GMT"}, None, id="no date that there can be"),
        ({"retry-after": "never"}, None),
        ({}, None),
    ],
)
def test_what_a_refusal_asks_to_wait(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_a_limit_told_in_part_is_left_out():
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "30000",
    }
    assert read_ratelimit_headers(headers, NOW) == {"requests": RateLimitHeader(500, 499, 0.12)}


def test_a_429_tells_its_limits_as_an_answer_does():
    told = {"limit": "30000", "remaining": "0", "reset": "2s"}
    headers = {f"x-ratelimit-{part}-tokens": value for part, value in told.items()}
    with pytest.raises(RateLimited) as caught:
        complete(httpx.Response(429, json={"error": {"message": "slow down"}}, headers=headers))
    assert caught.value.announced == {"tokens": RateLimitHeader(30_000, 0, 2)}


def asked(quota: HeaderQuota, announce, seconds: float, step: float = 0.05) -> int:  # noqa: ANN001
    """Requests that go out in this time, each answered at once by what `announce(now, sent)` tells."""
    now, sent = 0.0, 0
    while now < seconds:
        wait = quota.wait(1, now)
        if wait > 0:
            now += max(wait, 1e-6)
            continue
        quota.take(1, now)
        sent += 1
        quota.update(announce(now, sent), now)
        now += step
    return sent


def test_what_is_left_of_a_window_is_spread_over_it():
    def announce(now: float, sent: int) -> RateLimitHeader:
        """60 in each minute, told by the seconds until its end."""
        return RateLimitHeader(60, 60 * (int(now // 60) + 1) - sent, 60 - now % 60)

    assert 28 <= asked(HeaderQuota(), announce, 30) <= 32
    assert 295 <= asked(HeaderQuota(), announce, 300) <= 301


def test_what_is_on_its_way_is_taken_from_what_was_told():
    quota = HeaderQuota()
    quota.update(RateLimitHeader(10, 2, 60), 0.0)
    quota.take(1, 1.0)
    assert quota.wait(1, 1.0) == pytest.approx(29.5)  # one more until the window ends
    quota.take(1, 31.0)
    assert quota.wait(1, 31.0) == pytest.approx(29.0)  # and none


def test_a_bucket_that_fills_up_all_the_time_is_told_from_a_window():
    there, last = 60.0, 0.0

    def bucket(now: float, _: int) -> RateLimitHeader:
        """60 at most, one a second; reset is when it is full again, as OpenAI tells it."""
        nonlocal there, last
        there, last = min(60.0, there + now - last) - 1, now
        assert there >= -0.01  # nothing was sent that it would have refused
        return RateLimitHeader(60, max(0.0, there), 60 - there)

    assert asked(HeaderQuota(), bucket, 300) >= 340


def test_an_empty_bucket_is_waited_for_until_it_holds_what_is_asked_for():
    quota = HeaderQuota()
    quota.update(RateLimitHeader(60, 2, 29), 0.0)
    quota.update(RateLimitHeader(60, 0, 30), 1.0)  # full later than was told: two a second
    assert quota.wait(1, 1.0) == pytest.approx(0.5)
    assert quota.wait(6, 1.0) == pytest.approx(3.0)
    assert quota.wait(6, 4.0) == 0.0


def test_an_answer_to_an_older_request_is_no_news():
    quota = HeaderQuota()
    quota.update(RateLimitHeader(10, 0, 100), 5.0)
    quota.update(RateLimitHeader(10, 9, 100), 4.0)
    assert quota.wait(1, 6.0) > 90


def test_more_than_the_whole_limit_is_not_waited_for_for_ever():
    quota = HeaderQuota()
    quota.update(RateLimitHeader(100, 100, 60), 0.0)
    assert quota.wait(1000, 1.0) == 0.0


def test_what_is_left_of_a_day_is_used_up_and_not_spread_over_it():
    quota = HeaderQuota()
    sent = asked(quota, lambda now, sent: RateLimitHeader(20, 20 - sent, 86_400 - now), 20 * 300)
    assert sent == 20
    assert quota.wait(1, 6000.0) == pytest.approx(86_400 - 6000.0)
