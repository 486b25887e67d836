"""PURE: when the next request may go, as learned from an endpoint that does not tell its limit.

Two numbers are kept, because a limit can be of two kinds: `rate`, requests a second, and `slots`, requests at once.

- It begins with one request and opens by one slot for each answer, until the first 429.
- A 429 to more requests at once than were answered before lowers the slots to what was answered; any other lowers the
  rate to what was let through since the 429 before. Between two moments at which a limit is just used up, what was let
  through *is* the limit, for a token bucket and for a fixed window alike, so no search is needed.
- Then it goes a little below that, and probes above it: in small steps first, in larger ones the longer nothing is
  refused (as TCP CUBIC does, RFC 9438). A longer pause after a 429 makes probes rarer, so that pauses cost little.
- Refusals one after the other, with nothing answered between them, are one event: only the pause doubles.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW_SECONDS = 60.0
"""How far back the rate is measured: the longest window that vendors count requests in."""
BELOW = 0.97
"""Of the measured limit: what is sent after a 429, so that a bucket fills up again."""
DEEPEST_CUT = 0.5
"""One 429 never lowers the rate below this share: half is what a limit may be cut to at once."""
FEW_REQUESTS = 10
SHALLOW_CUT = 0.8
"""So few requests since the 429 before measure little: then the rate is lowered by no more than to this share."""
TELLING = 0.4
"""Likewise where far fewer than allowed were sent: then something else held them back."""
PROVEN = 0.9
"""Of a rate that was borne for a whole step: an endpoint that saves nothing up measures too low by the climb before."""
LONG_STREAK = 3
"""Refusals in a row that tell a spent window from a rate a little too high: there the measure holds."""
HASTY = 3
"""So many events without a step between them: slots were lowered again and again, so they are not what is limited."""
SLACK, SLACK_SHARE = 2, 16
"""An endpoint at its limit of requests at once lets a few more in, since an answer on its way still counts here: up to
so many for each that it refuses, and one more for each so many at once."""
OPENING = 1.3
"""Where the rate is the limit, slots are opened to so many times what was in use."""
STEP_REQUESTS, STEP_SECONDS, STEP_PAUSES = 10, 1.0, 8.0
"""A step of probing takes so many requests, so many seconds, and so many times the last pause, whichever is longest."""
SLOT_REQUESTS = 25
"""Slots are probed after so many: one too many is refused at once, so this bounds the share of refusals at 4 %."""
FIRST_PROBE, PROBE_GROWTH, LARGEST_PROBE = 0.02, 1.5, 0.1
UNKNOWN_PAUSE = 1.0
"""Seconds after a first 429 before anything was answered."""
SHORTEST_LOOK, LONGEST_LOOK, LOOK_REQUESTS = 1.0, 10.0, 30.0
"""An endpoint that refuses everything, and does not say until when, is asked again and again: after the time that so
many requests take at the measured rate, within these bounds in seconds."""
CREDIT_SECONDS = 0.01
"""How much later than its turn a request may go without the next ones waiting for it: timers are that coarse."""
SPREAD = 0.5
"""Requests that hold all slots are spread over this share of the time that an answer takes."""


@dataclass(eq=False)
class InFlightRequest:
    """One request on its way: when it was sent, how many others were, and what came of it."""

    at: float
    others: int
    refused: bool = False
    ended: bool = False


@dataclass
class AdaptivePace:
    """The pace that an endpoint bears. `ceiling` is the most requests at once, whatever the endpoint bears."""

    ceiling: int
    slots: int = 1
    rate: float = math.inf
    asking: int = 0
    _sent: deque[InFlightRequest] = field(default_factory=deque)
    _turn: float = 0.0
    """When the next request may go, by the rate."""
    _closed_until: float = 0.0
    _refused_at: float | None = None
    """The last 429 that counted."""
    _event_at: float | None = None
    """The first 429 of the last event: what the rate is measured from."""
    _hasty: int = 0
    """Events since the last step without one."""
    _judged_at: float = -math.inf
    """Requests sent since then tell which of the two numbers is too high."""
    _judged: float | None = None
    """What the last event measured."""
    _proven: float = 0.0
    """A rate that was kept for a whole step without a refusal, since the last event."""
    _streak: int = 0
    _misled: bool = False
    """The endpoint refused again after a pause that it told: from then on its word only makes pauses longer."""
    _refusal_seconds: float = 0.05
    """How soon a 429 comes back: what is silent for longer was let through."""
    _latency: float = 0.0
    _pause: float = 0.0
    _step_at: float = 0.0
    _step_requests: int = 0
    _since_slots: int = 0
    _full: bool = False
    """Somebody wanted to send while all slots were taken."""
    _rate_bound: bool = False
    _slots_bound: bool = False
    _rate_probe: float = FIRST_PROBE
    _slots_probe: float = 1.0

    def wait(self, now: float) -> float | None:
        """Seconds until a request may be sent; None: not before one that is out has ended."""
        turn = max(self._turn, self._closed_until) - now
        if self.asking >= self.slots:
            self._full = True
            return None
        self._rate_bound |= self._turn > max(now, self._closed_until)
        return max(0.0, turn)

    def send(self, now: float) -> InFlightRequest:
        """A request goes out now; `answered`, `failed` or `refused` has to be called with it."""
        sent = InFlightRequest(now, self.asking)
        self.asking += 1
        self._slots_bound |= self._full and self.slots < self.ceiling and max(self._turn, self._closed_until) < now
        self._full = False
        while self._sent and self._sent[0].at < now - WINDOW_SECONDS:
            self._sent.popleft()
        self._sent.append(sent)
        # Never all at once where one after the other would do: a limit without a burst would look like one slot.
        interval = max(1 / self.rate, SPREAD * self._latency / self.slots)
        if self._streak > 1:  # one looks whether the endpoint is open again, the others wait for what it finds
            interval = max(interval, 2 * self._refusal_seconds)
        self._turn = max(self._turn, now - CREDIT_SECONDS) + interval
        self._step_requests += 1
        self._since_slots += 1
        self._probe(now)
        return sent

    def answered(self, sent: InFlightRequest, now: float) -> None:
        """An answer came: the endpoint let it through."""
        self.failed(sent)
        self._latency += (now - sent.at - self._latency) / (8 if self._latency else 1)
        if self._refused_at is not None and sent.at > self._refused_at:
            self._streak = 0
        if self._event_at is None:
            self.slots = min(self.ceiling, self.slots + 1)

    def failed(self, sent: InFlightRequest) -> None:
        """It ended in another way than by a 429."""
        self.asking -= 1
        sent.ended = True

    def refused(self, sent: InFlightRequest, now: float, retry_after: float | None = None) -> None:
        """A 429 came; several to requests that were sent before the first of them are one signal."""
        self.failed(sent)
        sent.refused = True
        self._refusal_seconds += (now - sent.at - self._refusal_seconds) / 4
        news = self._refused_at is None or sent.at > self._refused_at
        if news:
            apart = self._streak == 0 or self._any_through_since(self._refused_at, now)
            self._streak = 1 if apart else self._streak + 1
            if apart:
                self._learn(sent, now)
            elif self._streak == LONG_STREAK and self._judged is not None:
                self.rate = min(self.rate, BELOW * self._judged)
            self._refused_at = now
            self._begin_step(now)
        told = retry_after or 0.0
        if news or told:
            # A told pause is kept to as it is while it proves right: a limit without a burst is used far better so.
            self._misled |= news and told > 0 and self._streak > 1
            believed = told > 0 and self._streak == 1 and not self._misled
            self._pause = told if believed or not news else max(told, self._pause_after(now))
            self._closed_until = max(self._closed_until, now + self._pause)
            self._turn = min(self._turn, self._closed_until)

    def _pause_after(self, now: float) -> float:
        rate = self.rate
        if not math.isfinite(rate):
            rate = self._measured(-math.inf, now) or 1 / UNKNOWN_PAUSE
        longest = min(LONGEST_LOOK, max(SHORTEST_LOOK, LOOK_REQUESTS / rate))
        return float(min(longest, 2 ** (self._streak - 1) / rate))

    def _any_through_since(self, begin: float | None, now: float) -> bool:
        return any((begin is None or sent.at > begin) and self._let_through(sent, now) for sent in self._sent)

    def _let_through(self, sent: InFlightRequest, now: float) -> bool:
        return not sent.refused and (sent.ended or now - sent.at > 2 * self._refusal_seconds)

    def _learn(self, sent: InFlightRequest, now: float) -> None:
        """Which of the two numbers was too high, and what it should be."""
        like_it = [other for other in self._sent if other.at > self._judged_at and other.others >= sent.others]
        refused = sum(other.refused for other in like_it)
        through = sum(self._let_through(other, now) for other in like_it)
        suspected = refused > 1 or math.isinf(self.rate) or sent.others + 1 >= self.slots
        never_through = (SLACK + sent.others / SLACK_SHARE) * refused >= through
        if sent.others > 0 and suspected and never_through and self._hasty < HASTY:
            self.slots = min(self.slots, sent.others)
            self._judged_at = sent.at
            self._hasty += 1
        else:
            self._hasty = 0
            self._lower_rate(now)
            self.slots = min(self.ceiling, max(self.slots, int(OPENING * sent.others)))
            if through > refused:
                self._judged_at = sent.at
        self._event_at = sent.at
        self._rate_probe, self._slots_probe, self._since_slots = FIRST_PROBE, 1.0, 0

    def _lower_rate(self, now: float) -> None:
        since = -math.inf if self._event_at is None else self._event_at
        measured = self._measured(since, now)
        self._judged = measured
        if measured is None:
            return
        asked = sum(other.at > since for other in self._sent)
        telling = asked >= FEW_REQUESTS and measured >= TELLING * self.rate
        cut = (DEEPEST_CUT if telling else SHALLOW_CUT) * self.rate if math.isfinite(self.rate) else 0.0
        self.rate = max(cut, PROVEN * self._proven, BELOW * min(measured, self.rate))
        self._proven = 0.0

    def _measured(self, since: float, now: float) -> float | None:
        """Requests a second that were let through since then; None where that is too few to tell."""
        begin = max(since, now - WINDOW_SECONDS, self._sent[0].at)
        through = sum(not sent.refused for sent in self._sent if sent.at > begin)
        return through / (now - begin) if through and now > begin else None

    def _begin_step(self, now: float) -> None:
        self._step_at, self._step_requests = now, 0
        self._rate_bound = self._slots_bound = False

    def _probe(self, now: float) -> None:
        """After a step without a refusal, more of what held requests back."""
        longest = max(STEP_SECONDS, STEP_PAUSES * self._pause)
        if self._event_at is None or self._step_requests < STEP_REQUESTS or now - self._step_at < longest:
            return
        self._streak = 0
        self._hasty = 0
        if self._rate_bound and math.isfinite(self.rate):
            self._proven = self.rate
            self.rate *= 1 + self._rate_probe
            self._rate_probe = min(LARGEST_PROBE, self._rate_probe * PROBE_GROWTH)
        if self._slots_bound and self._since_slots >= SLOT_REQUESTS:
            self.slots = min(self.ceiling, self.slots + int(self._slots_probe))
            self._slots_probe *= PROBE_GROWTH
            self._since_slots = 0
        self._begin_step(now)
