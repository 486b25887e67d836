"""What befalls an operator's requests while a storm rages: chosen at random from a seed, and counted by kind.

storm = Storm(seed=7)
with ApiProxy(..., storm=storm):
    storm.rages = True
"""

from __future__ import annotations

import json
import random
from collections import Counter
from enum import StrEnum

from aiohttp import web

REQUESTS_STRUCK = 0.08
"""Share of the requests that fail in some way."""
WATCH_SECONDS = 4.0
"""How long a watch lasts on average."""


class Gust(StrEnum):
    """One fault."""

    KILLED = "operator killed"
    REQUEST_LOST = "request lost"
    """The connection breaks before the API server has the request."""
    ANSWER_LOST = "answer lost"
    """The API server carried it out, and the connection breaks."""
    TOO_MANY_REQUESTS = "429"
    SERVER_ERROR = "5xx"
    WATCH_CUT = "watch cut"
    WATCH_GONE = "watch: 410"
    WATCH_FAILED = "watch: ERROR 500"


REQUEST_GUSTS = (Gust.REQUEST_LOST, Gust.ANSWER_LOST, Gust.TOO_MANY_REQUESTS, Gust.SERVER_ERROR)
WATCH_GUSTS = (Gust.WATCH_CUT, Gust.WATCH_GONE, Gust.WATCH_FAILED)
CODES = {Gust.TOO_MANY_REQUESTS: 429, Gust.SERVER_ERROR: 503, Gust.WATCH_GONE: 410, Gust.WATCH_FAILED: 500}
REASONS = {429: "TooManyRequests", 410: "Expired", 500: "InternalError", 503: "ServiceUnavailable"}


class Storm:
    """The faults of all proxies that share it.

    Attributes:
        rages: faults happen only while it is true.
        struck: how often each kind happened.
    """

    def __init__(self, seed: int) -> None:
        self.rages = False
        self.struck: Counter[Gust] = Counter()
        self._random = random.Random(seed)
        self._decks: dict[tuple[Gust, ...], list[Gust]] = {}

    def at_request(self, request: web.Request) -> Gust | None:
        """What happens to a request; a watch may only be refused, its end is `at_watch`."""
        if not self.rages or self._random.random() > REQUESTS_STRUCK:
            return None
        gust = self._draw(REQUEST_GUSTS)
        if gust is Gust.ANSWER_LOST and request.query.get("watch"):
            gust = Gust.REQUEST_LOST
        return self._count(gust)

    def watch_seconds(self) -> float | None:
        """How long a watch that begins now lasts; outside a storm as long as the API server lets it."""
        return self._random.expovariate(1 / WATCH_SECONDS) if self.rages else None

    def at_watch(self) -> Gust:
        """How a watch ends whose time has come."""
        return self._count(self._draw(WATCH_GUSTS))

    def cut(self, watches: int) -> None:
        """Counts watches that were cut as the storm began."""
        self.struck[Gust.WATCH_CUT] += watches

    def kill(self) -> None:
        """Counts an operator that was killed."""
        self._count(Gust.KILLED)

    def _draw(self, kinds: tuple[Gust, ...]) -> Gust:
        """Each kind once, in random order, before any comes again: a short storm has all of them, too."""
        deck = self._decks.setdefault(kinds, [])
        if not deck:
            deck += self._random.sample(kinds, len(kinds))
        return deck.pop()

    def _count(self, gust: Gust) -> Gust:
        self.struck[gust] += 1
        return gust


def refusal(gust: Gust) -> web.Response:
    """The answer of an API server that has too much to do, or none to give."""
    code = CODES[gust]
    headers = {"Retry-After": "1"} if gust is Gust.TOO_MANY_REQUESTS else {}
    return web.json_response(_status(code), status=code, headers=headers)


def watch_error(gust: Gust) -> bytes:
    """The last line of a watch that the API server gives up."""
    return json.dumps({"type": "ERROR", "object": _status(CODES[gust])}).encode() + b"\n"


def _status(code: int) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": REASONS[code],
        "message": "storm",
    }
