"""PURE: decides when the next request may be sent to an endpoint that does not announce its limit.

The pace is two learned numbers, because a limit can be of two kinds: `rate`, requests per second, and `slots`,
concurrent requests.

- The pace starts with one request and opens one slot for each answer, until the first 429.
- A 429 to more concurrent requests than were answered before lowers the slots to what was answered; any other lowers
  the rate to what was let through since the previous 429. Between two moments at which a limit is just used up, what
  was let through *is* the limit, for a token bucket and for a fixed window alike, so no search is needed.
- Then the pace stays a little below that and probes above it: in small steps first, in larger ones the longer nothing
  is refused (as TCP CUBIC does, RFC 9438). A longer pause after a 429 makes probes rarer, so that pauses cost little.
- Consecutive refusals, with no answer between them, are one event: only the pause doubles.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW_SECONDS = 60.0
"""Seconds over which the rate is measured: the longest window that vendors count requests in."""
BELOW = 0.97
"""Share of the measured limit that is sent after a 429, so that a bucket fills up again."""
DEEPEST_CUT = 0.5
"""One 429 never lowers the rate below this share: a limit may be halved in one event."""
FEW_REQUESTS = 10
SHALLOW_CUT = 0.8
"""Fewer than FEW_REQUESTS since the previous 429 are a poor measure: then the rate drops to no less than SHALLOW_CUT of
itself."""
TELLING = 0.4
"""The same applies below this share of the allowed rate: then something else held the requests back."""
PROVEN = 0.9
"""Share of a rate that was accepted for a whole step, below which the rate never drops: at an endpoint that saves
nothing up, the climb before makes the measured rate too low."""
LONG_STREAK = 3
"""Consecutive refusals that distinguish a spent window from a rate a little too high: then the measured rate counts."""
HASTY = 3
"""After so many events without a step between them, slots were lowered again and again, so they are not the limit."""
SLACK, SLACK_SHARE = 2, 16
"""An endpoint at its limit of concurrent requests lets a few more in, since an answer on its way still counts here: up
to SLACK for each request that it refuses, and one more for each SLACK_SHARE concurrent requests."""
OPENING = 1.3
"""If the rate is the limit, slots are opened to this multiple of what was in use."""
STEP_REQUESTS, STEP_SECONDS, STEP_PAUSES = 10, 1.0, 8.0
"""A probing step takes STEP_REQUESTS requests, STEP_SECONDS seconds, or STEP_PAUSES times the last pause, whichever is
longest."""
SLOT_REQUESTS = 25
"""Slots are probed after so many requests: one request too many is refused immediately, so this bounds the share of
refusals at 4 %."""
FIRST_PROBE, PROBE_GROWTH, LARGEST_PROBE = 0.02, 1.5, 0.1
UNKNOWN_PAUSE = 1.0
"""Seconds of pause after a 429 that comes before any answer."""
SHORTEST_LOOK, LONGEST_LOOK, LOOK_REQUESTS = 1.0, 10.0, 30.0
"""An endpoint that refuses everything without saying until when is tried again and again: after the time that
LOOK_REQUESTS requests take at the measured rate, but SHORTEST_LOOK to LONGEST_LOOK seconds."""
CREDIT_SECONDS = 0.01
"""Seconds that a request may be late without delaying the next ones: timers are that coarse."""
SPREAD = 0.5
"""Requests that fill all slots are spread over this share of the time that an answer takes."""


@dataclass(eq=False)
class InFlightRequest:
    """One request on its way: when it was sent, how many others were in flight, and how it ended."""

    at: float
    others: int
    refused: bool = False
    ended: bool = False


@dataclass
class AdaptivePace:
    """The pace that an endpoint accepts. `ceiling` is the maximum of concurrent requests in any case."""

    ceiling: int
    slots: int = 1
    rate: float = math.inf
    asking: int = 0
    _sent: deque[InFlightRequest] = field(default_factory=deque)
    _next_at: float = 0.0
    """When the rate allows the next request."""
    _closed_until: float = 0.0
    _refused_at: float | None = None
    """The last 429 that counted."""
    _event_at: float | None = None
    """The first 429 of the last event: what the rate is measured from."""
    _events_without_step: int = 0
    """Events since the last step without one."""
    _evidence_since: float = -math.inf
    """Requests sent since then show which of the two numbers is too high."""
    _last_measured: float | None = None
    """Rate that the last event measured."""
    _proven: float = 0.0
    """Rate that was kept for a whole step without a refusal, since the last event."""
    _streak: int = 0
    _pause_too_short: bool = False
    """The endpoint refused again after the pause that it asked for: from then on its Retry-After only makes pauses
    longer."""
    _refusal_seconds: float = 0.05
    """Mean seconds until a 429 comes back: a request that is silent for longer was let through."""
    _latency: float = 0.0
    _pause: float = 0.0
    _step_at: float = 0.0
    _step_requests: int = 0
    _since_slots: int = 0
    _slots_were_full: bool = False
    """A request had to wait because all slots were taken."""
    _rate_bound: bool = False
    _slots_bound: bool = False
    _rate_probe: float = FIRST_PROBE
    _slots_probe: float = 1.0

    def wait(self, now: float) -> float | None:
        """Returns the seconds until a request may be sent; None if one in flight has to end first."""
        turn = max(self._next_at, self._closed_until) - now
        if self.asking >= self.slots:
            self._slots_were_full = True
            return None
        self._rate_bound |= self._next_at > max(now, self._closed_until)
        return max(0.0, turn)

    def send(self, now: float) -> InFlightRequest:
        """Records that a request is sent now; one of `record_answer`, `record_429` and `record_end` has to follow."""
        sent = InFlightRequest(now, self.asking)
        self.asking += 1
        self._slots_bound |= (
            self._slots_were_full and self.slots < self.ceiling and max(self._next_at, self._closed_until) < now
        )
        self._slots_were_full = False
        while self._sent and self._sent[0].at < now - WINDOW_SECONDS:
            self._sent.popleft()
        self._sent.append(sent)
        # Requests are spread out and not sent together: a limit without a burst would look like one slot.
        interval = max(1 / self.rate, SPREAD * self._latency / self.slots)
        if self._streak > 1:  # one request tests whether the endpoint is open again, the others wait for its result
            interval = max(interval, 2 * self._refusal_seconds)
        self._next_at = max(self._next_at, now - CREDIT_SECONDS) + interval
        self._step_requests += 1
        self._since_slots += 1
        self._probe(now)
        return sent

    def record_answer(self, sent: InFlightRequest, now: float) -> None:
        """Records an answer: the endpoint let the request through."""
        self.record_end(sent)
        self._latency += (now - sent.at - self._latency) / (8 if self._latency else 1)
        if self._refused_at is not None and sent.at > self._refused_at:
            self._streak = 0
        if self._event_at is None:
            self.slots = min(self.ceiling, self.slots + 1)

    def record_end(self, sent: InFlightRequest) -> None:
        """Records that a request ended; called alone for one that ended without an answer and without a 429."""
        self.asking -= 1
        sent.ended = True

    def record_429(self, sent: InFlightRequest, now: float, retry_after: float | None = None) -> None:
        """Records a 429; several 429s to requests that were sent before the first of them are one signal."""
        self.record_end(sent)
        sent.refused = True
        self._refusal_seconds += (now - sent.at - self._refusal_seconds) / 4
        new_signal = self._refused_at is None or sent.at > self._refused_at
        if new_signal:
            new_event = self._streak == 0 or self._any_let_through_since(self._refused_at, now)
            self._streak = 1 if new_event else self._streak + 1
            if new_event:
                self._learn(sent, now)
            elif self._streak == LONG_STREAK and self._last_measured is not None:
                self.rate = min(self.rate, BELOW * self._last_measured)
            self._refused_at = now
            self._begin_step(now)
        asked_pause = retry_after or 0.0
        if new_signal or asked_pause:
            # Retry-After is followed exactly while it proves right: that uses a limit without a burst far better.
            self._pause_too_short |= new_signal and asked_pause > 0 and self._streak > 1
            trusted = asked_pause > 0 and self._streak == 1 and not self._pause_too_short
            self._pause = asked_pause if trusted or not new_signal else max(asked_pause, self._pause_after(now))
            self._closed_until = max(self._closed_until, now + self._pause)
            self._next_at = min(self._next_at, self._closed_until)

    def _pause_after(self, now: float) -> float:
        rate = self.rate
        if not math.isfinite(rate):
            rate = self._measured(-math.inf, now) or 1 / UNKNOWN_PAUSE
        longest = min(LONGEST_LOOK, max(SHORTEST_LOOK, LOOK_REQUESTS / rate))
        return float(min(longest, 2 ** (self._streak - 1) / rate))

    def _any_let_through_since(self, begin: float | None, now: float) -> bool:
        return any((begin is None or sent.at > begin) and self._let_through(sent, now) for sent in self._sent)

    def _let_through(self, sent: InFlightRequest, now: float) -> bool:
        return not sent.refused and (sent.ended or now - sent.at > 2 * self._refusal_seconds)

    def _learn(self, sent: InFlightRequest, now: float) -> None:
        """Finds out which of the two numbers was too high, and lowers it."""
        comparable = [peer for peer in self._sent if peer.at > self._evidence_since and peer.others >= sent.others]
        refused = sum(peer.refused for peer in comparable)
        through = sum(self._let_through(peer, now) for peer in comparable)
        suspected = refused > 1 or math.isinf(self.rate) or sent.others + 1 >= self.slots
        never_through = (SLACK + sent.others / SLACK_SHARE) * refused >= through
        if sent.others > 0 and suspected and never_through and self._events_without_step < HASTY:
            self.slots = min(self.slots, sent.others)
            self._evidence_since = sent.at
            self._events_without_step += 1
        else:
            self._events_without_step = 0
            self._lower_rate(now)
            self.slots = min(self.ceiling, max(self.slots, int(OPENING * sent.others)))
            if through > refused:
                self._evidence_since = sent.at
        self._event_at = sent.at
        self._rate_probe, self._slots_probe, self._since_slots = FIRST_PROBE, 1.0, 0

    def _lower_rate(self, now: float) -> None:
        since = -math.inf if self._event_at is None else self._event_at
        measured = self._measured(since, now)
        self._last_measured = measured
        if measured is None:
            return
        sent_count = sum(request.at > since for request in self._sent)
        reliable = sent_count >= FEW_REQUESTS and measured >= TELLING * self.rate
        floor = (DEEPEST_CUT if reliable else SHALLOW_CUT) * self.rate if math.isfinite(self.rate) else 0.0
        self.rate = max(floor, PROVEN * self._proven, BELOW * min(measured, self.rate))
        self._proven = 0.0

    def _measured(self, since: float, now: float) -> float | None:
        """Returns the requests per second that were let through since then; None if there were none."""
        begin = max(since, now - WINDOW_SECONDS, self._sent[0].at)
        through = sum(not sent.refused for sent in self._sent if sent.at > begin)
        return through / (now - begin) if through and now > begin else None

    def _begin_step(self, now: float) -> None:
        self._step_at, self._step_requests = now, 0
        self._rate_bound = self._slots_bound = False

    def _probe(self, now: float) -> None:
        """After a step without a refusal, raises the number that held requests back."""
        longest = max(STEP_SECONDS, STEP_PAUSES * self._pause)
        if self._event_at is None or self._step_requests < STEP_REQUESTS or now - self._step_at < longest:
            return
        self._streak = 0
        self._events_without_step = 0
        if self._rate_bound and math.isfinite(self.rate):
            self._proven = self.rate
            self.rate *= 1 + self._rate_probe
            self._rate_probe = min(LARGEST_PROBE, self._rate_probe * PROBE_GROWTH)
        if self._slots_bound and self._since_slots >= SLOT_REQUESTS:
            self.slots = min(self.ceiling, self.slots + int(self._slots_probe))
            self._slots_probe *= PROBE_GROWTH
            self._since_slots = 0
        self._begin_step(now)
