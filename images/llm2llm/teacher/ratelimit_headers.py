"""PURE: reads an endpoint's limits from its response headers, and computes how long to wait for them.

Vendors agree on the names (`x-ratelimit-limit-requests`, `-remaining-requests`, `-reset-requests`, the same for
tokens) but not on the meaning of reset. For some, a window ends then, and the whole limit is available again; for
others, a bucket that refills continuously is full then. Two answers distinguish them: the end of a window does not
move, and a bucket is full the later the more is taken out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise

KINDS = ("requests", "tokens")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH = 1e9
"""Numbers from here on are seconds since 1970; numbers a thousand times larger are milliseconds."""
_APART_SECONDS = 1.0
_DRIFT = 0.2
"""The end of a window moves by less than this share of the time that passes."""
LONGEST_SPREAD = 300.0
"""Maximum seconds between two requests: what is left of a day's window is used up sooner rather than spread further."""


@dataclass(frozen=True)
class RateLimitHeader:
    """One limit as one answer announces it; `reset` in seconds from then."""

    limit: float
    remaining: float
    reset: float


def read_ratelimit_headers(headers: Mapping[str, str], wall: float) -> dict[str, RateLimitHeader]:
    """Reads the limits from the headers of an answer; leaves out a limit that is incomplete or malformed.

    Args:
        headers: names in any case that the mapping understands.
        wall: seconds since 1970, for vendors that send a time instead of a duration.
    """
    limits = {}
    for kind in KINDS:
        limit, remaining = (_number(headers.get(f"x-ratelimit-{part}-{kind}", "")) for part in ("limit", "remaining"))
        reset = seconds_until(headers.get(f"x-ratelimit-reset-{kind}", ""), wall)
        if limit is not None and remaining is not None and reset is not None:
            limits[kind] = RateLimitHeader(limit, remaining, reset)
    return limits


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """Returns the seconds that a refusal asks to wait: `retry-after-ms`, else `Retry-After`, seconds or date (RFC
    9110).

    A date is by the endpoint's clock, so it is measured from the answer's `Date` if there is one.
    """
    precise = _number(headers.get("retry-after-ms", ""))
    if precise is not None:
        return precise / 1000
    text = headers.get("retry-after", "")
    answered_at = _date(headers.get("date", ""))
    now = wall if answered_at is None else answered_at
    seconds = seconds_until(text, now)
    if seconds is not None:
        return seconds
    until = _date(text)
    return None if until is None else max(0.0, until - now)


def seconds_until(text: str, wall: float) -> float | None:
    """Parses a duration (`12`, `1s`, `6m0s`, `120ms`) or a time (epoch in s or ms, ISO 8601) into seconds from now."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number < _EPOCH:
            return number
        return max(0.0, (number if number < _EPOCH * 1000 else number / 1000) - wall)
    parts = _DURATION.findall(text)
    if parts and "".join(value + unit for value, unit in parts) == text:
        return sum(float(value) * _SECONDS[unit] for value, unit in parts)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - wall)


def _date(text: str) -> float | None:
    """Parses an HTTP date, which is always in UTC, into seconds since 1970."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


@dataclass
class HeaderQuota:
    """Tracks what is left of one announced limit. The clock is a parameter, in seconds."""

    _newest: RateLimitHeader | None = None
    _newest_sent_at: float = 0.0
    _taken: list[tuple[float, float]] = field(default_factory=list)
    """(time, amount) of what was taken since the newest answer's request."""
    _resets: list[tuple[float, float]] = field(default_factory=list)
    """(time of the request, time of the reset) of the last two resets, to distinguish a window from a bucket."""
    _is_bucket: bool = False
    _next_at: float = 0.0

    @property
    def newest(self) -> RateLimitHeader | None:
        """Returns the newest announced limit."""
        return self._newest

    def update(self, announcement: RateLimitHeader, sent_at: float) -> None:
        """Records what the answer to a request sent at `sent_at` announces; ignores answers older than the newest."""
        if self._newest is not None and sent_at < self._newest_sent_at:
            return
        self._newest, self._newest_sent_at = announcement, sent_at
        self._taken = [(at, amount) for at, amount in self._taken if at > sent_at]
        if not self._resets or sent_at - self._resets[-1][0] >= _APART_SECONDS:
            self._resets = [*self._resets[-1:], (sent_at, sent_at + announcement.reset)]
        for (earlier, before), (later, after) in pairwise(self._resets):
            if later < before:  # otherwise that window is over, or that bucket was full
                self._is_bucket = after - before > _DRIFT * (later - earlier)

    def wait(self, amount: float, now: float) -> float:
        """Returns the seconds until `amount` may be taken, spread evenly over a window."""
        newest = self._newest
        if newest is None or now >= self._newest_sent_at + newest.reset:
            return 0.0
        left = newest.remaining - sum(taken for _, taken in self._taken)
        if self._is_bucket:
            rate = (newest.limit - newest.remaining) / newest.reset
            left += rate * (now - self._newest_sent_at)
            return max(0.0, (min(amount, newest.limit) - left) / rate) if rate > 0 else 0.0
        if left < min(amount, newest.limit):
            return self._newest_sent_at + newest.reset - now
        return max(0.0, min(self._next_at, self._newest_sent_at + newest.reset) - now)

    def take(self, amount: float, now: float) -> None:
        """Records that `amount` is sent now."""
        if self._newest is None:
            return
        self._taken.append((now, amount))
        left = self._newest.remaining - sum(taken for _, taken in self._taken)
        until_reset = self._newest_sent_at + self._newest.reset - now
        if left > 0 and until_reset > 0:
            self._next_at = max(self._next_at, now) + min(LONGEST_SPREAD, amount * until_reset / (left + amount))
