"""PURE: the token bucket that paces requests, to the teacher's endpoint and to the API server alike.

Time comes in as a parameter. What is taken before it is there is owed: the bucket goes below zero, and whoever took it
waits until it would be full again. So requests keep their order, and none of them polls.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TokenBucket:
    """At most `rate` a second after a burst of `burst`, and any number where `rate` is None.

    Attributes:
        rate: tokens that come in a second; may change at any time.
        burst: most tokens that the bucket holds; it is full at first.
        tokens: what is in it; below zero what is owed.
    """

    rate: float | None
    burst: float = 1.0
    tokens: float = field(default=0.0, init=False)
    _filled_at: float | None = field(default=None, init=False, repr=False)

    def refill(self, now: float) -> float:
        """Puts in what has come since the last time; returns the seconds that passed, 0 the first time."""
        passed = 0.0 if self._filled_at is None else now - self._filled_at
        full = self._filled_at is None
        self._filled_at = now
        if self.rate is not None:
            self.tokens = self.burst if full else min(self.burst, self.tokens + passed * self.rate)
        return passed

    def take(self, amount: float, now: float) -> float:
        """Takes an amount; returns the seconds to wait before it may be used."""
        self.refill(now)
        if self.rate is None:
            return 0.0
        self.tokens -= amount
        return max(0.0, -self.tokens / self.rate)

    def give_back(self, amount: float) -> None:
        """Returns what was taken and not used; takes more where `amount` is negative."""
        if self.rate is not None:
            self.tokens += amount
