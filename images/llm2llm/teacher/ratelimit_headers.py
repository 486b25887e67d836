"""PURE: what an endpoint says about its own limits, in headers, and the wait that follows from it.

Vendors agree on the names (`x-ratelimit-limit-requests`, `-remaining-requests`, `-reset-requests`, the same for
tokens) and not on the meaning of reset. In one reading a window ends then and the whole limit is there again; in the
other a bucket, which fills up all the time, is full then. Two answers tell them apart: the end of a window stays where
it is, a bucket is full the later the more is taken out.
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
"""Numbers from here on are seconds since 1970, and a thousand times larger ones milliseconds."""
_APART_SECONDS = 1.0
_DRIFT = 0.2
"""A window's end moves less than this share of the time that passes."""
LONGEST_SPREAD = 300.0
"""Seconds: what is left of a window of a day is not spread out further, but used up sooner."""


@dataclass(frozen=True)
class RateLimitHeader:
    """One limit as told by one answer: `reset` in seconds from then."""

    limit: float
    remaining: float
    reset: float


def read_ratelimit_headers(headers: Mapping[str, str], wall: float) -> dict[str, RateLimitHeader]:
    """What the headers of an answer tell; a limit that is told in part, or in nonsense, is left out.

    Args:
        headers: any case that the mapping understands.
        wall: seconds since 1970, for vendors that tell a time instead of a duration.
    """
    told = {}
    for kind in KINDS:
        limit, remaining = (_number(headers.get(f"x-ratelimit-{part}-{kind}", "")) for part in ("limit", "remaining"))
        reset = seconds_until(headers.get(f"x-ratelimit-reset-{kind}", ""), wall)
        if limit is not None and remaining is not None and reset is not None:
            told[kind] = RateLimitHeader(limit, remaining, reset)
    return told


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds that a refusal asks to wait: `retry-after-ms`, else `Retry-After` as seconds or as a date (RFC 9110).

    A date is by the endpoint's clock, so it is measured from the `Date` of the answer where there is one.
    """
    precise = _number(headers.get("retry-after-ms", ""))
    if precise is not None:
        return precise / 1000
    text = headers.get("retry-after", "")
    told_at = _date(headers.get("date", ""))
    now = wall if told_at is None else told_at
    seconds = seconds_until(text, now)
    if seconds is not None:
        return seconds
    until = _date(text)
    return None if until is None else max(0.0, until - now)


def seconds_until(text: str, wall: float) -> float | None:
    """Seconds of a duration (`12`, `1s`, `6m0s`, `120ms`), or from now to a time (epoch in s or ms, ISO 8601)."""
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
    """Seconds since 1970 of an HTTP date, which is always in UTC."""
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
    """What is left of one announced limit. The clock is a parameter, in seconds."""

    _told: RateLimitHeader | None = None
    _told_at: float = 0.0
    _taken: list[tuple[float, float]] = field(default_factory=list)
    """When and how much was taken since the newest answer's request."""
    _full_at: list[tuple[float, float]] = field(default_factory=list)
    """When it was told and what: the last two resets, for telling a window from a bucket."""
    _bucket: bool = False
    _turn: float = 0.0

    @property
    def newest(self) -> RateLimitHeader | None:
        """What was told last."""
        return self._told

    def told(self, announcement: RateLimitHeader, sent_at: float) -> None:
        """An answer to a request that was sent then; older ones than the newest are no news."""
        if self._told is not None and sent_at < self._told_at:
            return
        self._told, self._told_at = announcement, sent_at
        self._taken = [(at, amount) for at, amount in self._taken if at > sent_at]
        if not self._full_at or sent_at - self._full_at[-1][0] >= _APART_SECONDS:
            self._full_at = [*self._full_at[-1:], (sent_at, sent_at + announcement.reset)]
        for (earlier, before), (later, after) in pairwise(self._full_at):
            if later < before:  # else that window is over, or that bucket was full
                self._bucket = after - before > _DRIFT * (later - earlier)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much may be taken, spread evenly over a window."""
        told = self._told
        if told is None or now >= self._told_at + told.reset:
            return 0.0
        left = told.remaining - sum(taken for _, taken in self._taken)
        if self._bucket:
            rate = (told.limit - told.remaining) / told.reset
            left += rate * (now - self._told_at)
            return max(0.0, (min(amount, told.limit) - left) / rate) if rate > 0 else 0.0
        if left < min(amount, told.limit):
            return self._told_at + told.reset - now
        return max(0.0, min(self._turn, self._told_at + told.reset) - now)

    def take(self, amount: float, now: float) -> None:
        """So much is sent now."""
        if self._told is None:
            return
        self._taken.append((now, amount))
        left = self._told.remaining - sum(taken for _, taken in self._taken)
        until_reset = self._told_at + self._told.reset - now
        if left > 0 and until_reset > 0:
            self._turn = max(self._turn, now) + min(LONGEST_SPREAD, amount * until_reset / (left + amount))
