"""Part (c) of the data plane's benchmark: how much of an unknown teacher limit is used, and how many calls are refused.

    python -m benchmarks.teacher_rate [--seconds 120] [--limits bucket window at-once]

A real HTTP server holds a limit that it does not tell, and halves it midway. Against it, one after the other: the
product (its limiter, client, purse and ledger), 10 threads that sleep a fixed 2 s after each call (the reference's way)
and 64 threads that send at once again. Measured from 30 s after the start, and again from 30 s after the halving.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from tests.support.endpoints import AtOnce, FixedWindow, Limit, TokenBucket

from llm2llm.api.generate import Teacher
from llm2llm.api.policy import Budget
from llm2llm.budget import Spent
from llm2llm.errors import Terminated
from llm2llm.storage import LocalStore
from llm2llm.teacher.connection import connect
from llm2llm.teacher.ledger import Request, open_ledger
from llm2llm.teacher.limits import Limiter
from llm2llm.teacher.requests import LedgeredTeacher
from llm2llm.teacher.reservations import BudgetReservations

WARM_UP = 30.0
CEILING = 128
LATENCY = (1.0, 3.0)
WINDOW = 60.0
LIMITS: dict[str, tuple[Callable[[], Limit], float]] = {
    "bucket": (lambda: TokenBucket(20, 20), 20.0),
    "window": (lambda: FixedWindow(1200), 20.0),
    "at-once": (lambda: AtOnce(32), 32 / (sum(LATENCY) / 2)),
}
"""Name to the limit and the requests a second that it allows, before it is halved."""


@dataclass
class Endpoint:
    """The server's side: one limit, and what it let in and refused, by its own clock."""

    limit: Limit
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    began: float = 0.0

    async def chat(self, request: web.Request) -> web.Response:
        """One completion after the latency, or a 429 at once without a word about when to come back."""
        await request.read()
        now = time.monotonic() - self.began
        if self.limit.admits(now) is not None:
            self.refused.append(now)
            told = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
            return web.json_response(told, status=429, headers=self.announced(now))
        self.accepted.append(now)
        headers = self.announced(now)
        try:
            await asyncio.sleep(self.rng.uniform(*LATENCY))
        finally:
            self.limit.left()
        message = {"role": "assistant", "content": "{}"}
        return web.json_response(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
            },
            headers=headers,
        )

    def announced(self, _: float) -> dict[str, str]:
        """What an answer says about the limit in its headers: here nothing."""
        return {}

    def share(self, begin: float, end: float, allowed: float) -> tuple[float, float]:
        """The share of the allowed rate, and of the calls that were refused."""
        counts = [sum(begin <= at < end for at in times) for times in (self.accepted, self.refused)]
        return counts[0] / (allowed * (end - begin)), counts[1] / max(1, sum(counts))


async def serving(endpoint: Endpoint, halved_at: float, client: Callable[[str], None], seconds: float) -> None:
    """Serves on a free port while the client runs in a thread; halves the limit midway."""
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", endpoint.chat)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    # A window begins when the clock that is measured does.
    endpoint.began = time.monotonic()
    halving = asyncio.get_running_loop().call_later(halved_at, endpoint.limit.halve)
    worker = threading.Thread(target=client, args=(f"http://127.0.0.1:{runner.addresses[0][1]}/v1",))
    worker.start()
    await asyncio.sleep(seconds)
    await asyncio.to_thread(worker.join)
    halving.cancel()
    await runner.cleanup()


def product(seconds: float) -> Callable[[str], None]:
    """The product's own way."""

    def run(base_url: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_ask(base_url, Path(folder), time.monotonic() + seconds))

    return run


async def _ask(base_url: str, folder: Path, end: float) -> None:
    limiter = Limiter(CEILING)
    ledger = open_ledger(LocalStore(folder), "ledger", "pod", lambda: limiter.in_flight)
    async with connect(Teacher(model="m", base_url=base_url), {}) as client:
        teacher = LedgeredTeacher(client, limiter, ledger, BudgetReservations(Budget(), Spent()))
        requests = [
            Request(str(number), "", 0, 1, 0, [{"role": "user", "content": f"row {number}"}], {"type": "object"})
            for number in range(100_000)
        ]
        try:
            await teacher.answers(requests, lambda: time.monotonic() >= end)
        except Terminated:
            return


def threads(count: int, pause: float, seconds: float) -> Callable[[str], None]:
    """So many threads, each sending again after a fixed pause."""

    def run(base_url: str) -> None:
        end = time.monotonic() + seconds
        body = b'{"model": "m", "messages": [{"role": "user", "content": "row"}]}'

        def ask() -> None:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            headers = {"Content-Type": "application/json"}
            while time.monotonic() < end:
                try:
                    with opener.open(urllib.request.Request(f"{base_url}/chat/completions", body, headers)) as answer:
                        answer.read()
                except urllib.error.HTTPError as error:
                    error.close()
                time.sleep(pause)

        workers = [threading.Thread(target=ask) for _ in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return run


def measure(name: str, client: Callable[[float], Callable[[str], None]], half: float) -> list[tuple[float, float]]:
    """Shares of the allowed rate and of refused calls, before and after the halving."""
    limit, allowed = LIMITS[name]
    endpoint = Endpoint(limit())
    asyncio.run(serving(endpoint, half, client(2 * half), 2 * half))
    shares = []
    for begin, end, rate in ((WARM_UP, half, allowed), (half + WARM_UP, 2 * half, allowed / 2)):
        # What a spent window refuses until its end is nobody's to use: whole windows are measured.
        first = -(-begin // WINDOW) * WINDOW if name == "window" else begin
        shares.append(endpoint.share(first, end, rate))
    return shares


def table(names: Sequence[str], half: float) -> str:
    """The whole comparison as a table in markdown."""
    clients: dict[str, Callable[[float], Callable[[str], None]]] = {
        "adaptive": product,
        "10 threads, 2 s sleep": lambda seconds: threads(10, 2.0, seconds),
        "64 threads": lambda seconds: threads(64, 0.0, seconds),
    }
    lines = [
        "| limit | client | share of the allowed rate | rejected | after halving | rejected |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        for client, made in clients.items():
            cells = [f"{share:.1%}" for pair in measure(name, made, half) for share in pair]
            lines.append(f"| {name} | {client} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="of each half; a multiple of 60")
    parser.add_argument("--limits", nargs="+", default=list(LIMITS), choices=list(LIMITS))
    arguments = parser.parse_args(argv)
    if arguments.seconds < WARM_UP + WINDOW or arguments.seconds % WINDOW:
        parser.error(
            f"--seconds must be a multiple of {WINDOW:.0f}, from {2 * WINDOW:.0f} on: whole windows are measured"
        )
    print(table(arguments.limits, arguments.seconds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
