"""An endpoint that tells its limit in headers is asked as fast as it allows, and next to nothing is refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support import virtualtime
from tests.support.endpoints import Limit, TokenBucket

from llm2llm.api.policy import Budget
from llm2llm.budget import Spent
from llm2llm.errors import Terminated
from llm2llm.records import Usage
from llm2llm.storage import LocalStore
from llm2llm.teacher.client import RateLimited, TeacherClient
from llm2llm.teacher.ledger import Request, open_ledger
from llm2llm.teacher.limits import Limiter
from llm2llm.teacher.ratelimit_headers import read_ratelimit_headers
from llm2llm.teacher.reply import Reply
from llm2llm.teacher.requests import LedgeredTeacher
from llm2llm.teacher.reservations import BudgetReservations

SECONDS = 30.0
WARM_UP = 4.0
RATE = 20.0
WINDOW = 2.0
LATENCY = (0.1, 0.4)
CEILING = 128
USAGE = Usage(teacher_requests=1, teacher_input_tokens=10, teacher_output_tokens=1)


@dataclass
class Window:
    """So many requests in every two seconds of the clock."""

    most: int = int(RATE * WINDOW)
    used: dict[int, int] = field(default_factory=dict)

    def admits(self, now: float) -> float | None:
        window = int(now // WINDOW)
        if self.used.get(window, 0) >= self.most:
            return WINDOW - now % WINDOW
        self.used[window] = self.used.get(window, 0) + 1
        return None

    def left(self) -> None:
        pass

    def halve(self) -> None:
        self.most //= 2


def of_window(limit: Window, now: float) -> dict[str, str]:
    return headers(limit.most, limit.most - limit.used.get(int(now // WINDOW), 0), WINDOW - now % WINDOW)


def of_bucket(limit: TokenBucket, _: float) -> dict[str, str]:
    return headers(int(limit.burst), int(limit._there), (limit.burst - limit._there) / limit.rate)


def headers(limit: int, remaining: int, reset: float) -> dict[str, str]:
    values = {"limit": str(limit), "remaining": str(remaining), "reset": f"{round(1000 * reset)}ms"}
    return {f"x-ratelimit-{part}-requests": value for part, value in values.items()}


@dataclass
class Endpoint:
    """Stands for the client of an endpoint that announces its limit.

    Attributes:
        accepted: when it let a request in.
        refused: when it refused one.
    """

    limit: Limit
    announced: Callable[[Any, float], dict[str, str]]
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    timeout: float = 60.0
    where: str = "http://teacher/v1"
    identity: str = "m"
    teacher: Any = field(default_factory=lambda: SimpleNamespace(model="m", parameters={}))

    async def complete(self, _: Sequence[dict[str, str]], __: object) -> Reply:
        now = asyncio.get_running_loop().time()
        admitted = self.limit.admits(now) is None
        told = read_ratelimit_headers(self.announced(self.limit, now), 0.0)
        (self.accepted if admitted else self.refused).append(now)
        if not admitted:
            raise RateLimited("429", None, told)
        await asyncio.sleep(self.rng.uniform(*LATENCY))
        return Reply("{}", "stop", USAGE, told)


async def ask(endpoint: Endpoint, folder: Path) -> None:
    """Asks for more than the limit allows, until the time is over."""
    loop = asyncio.get_running_loop()
    limiter = Limiter(CEILING)
    ledger = open_ledger(LocalStore(folder), "ledger", "pod", lambda: limiter.in_flight)
    teacher = LedgeredTeacher(cast("TeacherClient", endpoint), limiter, ledger, BudgetReservations(Budget(), Spent()))
    chats = ([{"role": "user", "content": f"row {number}"}] for number in range(int(2 * RATE * SECONDS)))
    requests = [Request(str(number), "", 0, 1, 0, chat, {}) for number, chat in enumerate(chats)]
    with pytest.raises(Terminated):
        await teacher.answers(requests, lambda: loop.time() >= SECONDS)


@pytest.mark.parametrize(
    "endpoint",
    [
        pytest.param(lambda: Endpoint(Window(), of_window), id="a window that ends at a time"),
        pytest.param(lambda: Endpoint(TokenBucket(RATE, 20), of_bucket), id="a bucket that fills up all the time"),
    ],
)
def test_a_limit_that_is_told_is_used_and_kept(endpoint: Callable[[], Endpoint], tmp_path: Path):
    server = endpoint()
    virtualtime.run(ask(server, tmp_path))
    accepted, refused = (sum(WARM_UP <= at < SECONDS for at in times) for times in (server.accepted, server.refused))
    print(f"{accepted} accepted, {refused} refused; {len(server.refused)} of {len(server.accepted)} in all")
    assert accepted >= 0.95 * RATE * (SECONDS - WARM_UP)
    assert refused <= 0.02 * accepted
