"""PURE: limits the rate of requests with a token bucket, both to the teacher's endpoint and to the API server.

Time is a parameter. Tokens can be taken before they are there: the bucket then goes below zero, and the caller waits
until it would be back at zero. So requests keep their order, and none of them polls.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TokenBucket:
    """Allows `rate` tokens a second after a burst of `burst`, and any number if `rate` is None.

    Attributes:
        rate: tokens added per second; may change at any time.
        burst: maximum number of tokens in the bucket, which starts full.
        tokens: tokens in the bucket; below zero, tokens owed.
    """

    rate: float | None
    burst: float = 1.0
    tokens: float = field(default=0.0, init=False)
    _filled_at: float | None = field(default=None, init=False, repr=False)

    def refill(self, now: float) -> float:
        """Adds the tokens since the last call; returns the seconds that passed, 0 the first time."""
        passed = 0.0 if self._filled_at is None else now - self._filled_at
        is_first = self._filled_at is None
        self._filled_at = now
        if self.rate is not None:
            self.tokens = self.burst if is_first else min(self.burst, self.tokens + passed * self.rate)
        return passed

    def take(self, amount: float, now: float) -> float:
        """Takes an amount; returns the seconds to wait before using it."""
        self.refill(now)
        if self.rate is None:
            return 0.0
        self.tokens -= amount
        return max(0.0, -self.tokens / self.rate)

    def give_back(self, amount: float) -> None:
        """Returns tokens that were taken and not used; takes more if `amount` is negative."""
        if self.rate is not None:
            self.tokens += amount
