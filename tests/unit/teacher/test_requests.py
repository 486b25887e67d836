"""What asking a teacher costs, and how long it takes, whatever the endpoint does; all in virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support import virtualtime

from llm2llm.api.policy import Budget
from llm2llm.budget import Spent
from llm2llm.errors import StepError, Terminated, Transient
from llm2llm.records import Usage
from llm2llm.storage import LocalStore
from llm2llm.teacher.client import RateLimited, TeacherClient, TeacherUnavailable
from llm2llm.teacher.ledger import GROUP_SECONDS, LedgerRecord, Request, open_ledger, read_segments, usage_of
from llm2llm.teacher.limits import PATIENCE_SECONDS, Limiter, bucket_per_minute
from llm2llm.teacher.pacing import LONGEST_LOOK
from llm2llm.teacher.ratelimit_headers import RateLimitHeader
from llm2llm.teacher.reply import Reply
from llm2llm.teacher.requests import ATTEMPTS, DRAIN_SECONDS, POLL_SECONDS, LedgeredTeacher
from llm2llm.teacher.reservations import BudgetReservations
from llm2llm.tokenbucket import TokenBucket

ANSWER = Reply("x", "stop", Usage(teacher_requests=1, teacher_input_tokens=1, teacher_output_tokens=1))
LIMIT = 50
"""Tokens that are reserved for an answer."""
Answer = Callable[[str], Awaitable[Reply]]


@dataclass
class Endpoint:
    """Stands for the client: `answer` gets the text of a request."""

    answer: Answer
    sent: list[str] = field(default_factory=list)
    timeout: float = 60.0
    where: str = "http://teacher/v1"
    identity: str = "m"
    teacher: Any = field(default_factory=lambda: SimpleNamespace(model="m", parameters={}))

    async def complete(self, messages: Sequence[dict[str, str]], _: object) -> Reply:
        self.sent.append(messages[0]["content"])
        return await self.answer(self.sent[-1])


@dataclass
class Asked:
    """What came of asking."""

    endpoint: Endpoint
    store: LocalStore
    error: StepError | None = None
    waits: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Of the waits."""
    seconds: float = 0.0

    @property
    def records(self) -> list[LedgerRecord]:
        return list(read_segments(self.store, "ledger"))


def asked(
    folder: Path,
    answer: Answer,
    number: int = 2,
    stopping: Callable[[], bool] = lambda: False,
    *,
    timeout: float = 60.0,
    store: LocalStore | None = None,
    tokens: TokenBucket | None = None,
    confirm: Callable[[], None] = lambda: None,
) -> Asked:
    """Asks for so many answers, up to four at once."""
    came = Asked(Endpoint(answer, timeout=timeout), store or LocalStore(folder))
    requests = [
        Request(f"s{n}", f"d{n}", 0, 1, 0, [{"role": "user", "content": f"question-{n}"}], {}) for n in range(number)
    ]

    async def play() -> None:
        limiter = Limiter(4, tokens=tokens or TokenBucket(None))
        limiter.pace.slots = 4
        ledger = open_ledger(came.store, "ledger", f"pod-{len(came.records)}", lambda: limiter.in_flight)
        purse = BudgetReservations(Budget(), Spent(), LIMIT)
        teacher = LedgeredTeacher(cast("TeacherClient", came.endpoint), limiter, ledger, purse)

        def told(left: float) -> None:
            came.waits.append(left)
            came.reasons.append(teacher.reason)

        teacher.waits = told
        teacher.confirm = confirm
        began = asyncio.get_running_loop().time()
        try:
            await teacher.answers(requests, stopping)
        except StepError as error:
            came.error = error
        came.seconds = asyncio.get_running_loop().time() - began

    virtualtime.run(asyncio.wait_for(play(), 10_000))
    return came


def once(first: Exception | Reply) -> Answer:
    """The first request ends like this, the others are answered."""
    left = [first]

    async def answer(_: str) -> Reply:
        came = left.pop() if left else ANSWER
        if isinstance(came, Exception):
            raise came
        return came

    return answer


def day(remaining: int = 0) -> Reply:
    told = {"requests": RateLimitHeader(100, remaining, 86_400)}
    return Reply(ANSWER.text, ANSWER.finish, ANSWER.usage, told)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        pytest.param(
            TeacherUnavailable("503 overloaded", 3600.0, maybe_paid=False),
            "503 overloaded; it asked to retry after 3600 s",
            id="a 503 that asks for an hour",
        ),
        pytest.param(
            day(),
            "the teacher http://teacher/v1 reports 0 of 100 requests left, more in 86400 s: check the account's limits",
            id="an announced limit that is used up for a day",
        ),
    ],
)
def test_a_wait_beyond_all_patience_ends_the_attempt_and_tells_what_was_asked(
    tmp_path: Path, first: Exception | Reply, words: str
):
    came = asked(tmp_path, once(first), number=6)
    assert isinstance(came.error, Transient)
    assert came.error.message == words
    assert came.seconds <= GROUP_SECONDS


def test_a_process_that_may_no_longer_pay_sends_nothing_more(tmp_path: Path):
    sent = 0

    def confirm() -> None:
        nonlocal sent
        sent += 1
        if sent > 3:
            raise Transient("another command has the run")

    came = asked(tmp_path, held(), 24, confirm=confirm)
    assert isinstance(came.error, Transient)
    assert came.error.message == "another command has the run"
    assert len(came.endpoint.sent) == len(came.records) == 3
    assert sent == 4  # one request has asked for all that waited


def test_answers_are_recorded_while_the_store_is_asked_whether_this_process_may_pay(tmp_path: Path):
    store = LocalStore(tmp_path)
    recorded: list[int] = []

    def confirm() -> None:
        assert threading.current_thread() is not threading.main_thread()
        if recorded:
            virtualtime.sleep(10)
        recorded.append(len(list(read_segments(store, "ledger"))))

    came = asked(tmp_path, once(ANSWER), 3, confirm=confirm, store=store)
    assert came.error is None
    assert recorded == [0, 1, 2]


def test_a_request_that_is_given_up_before_it_was_sent_costs_nothing(tmp_path: Path):
    def confirm() -> None:
        virtualtime.sleep(10 * DRAIN_SECONDS)

    came = asked(tmp_path, once(ANSWER), confirm=confirm, stopping=lambda: True)
    assert isinstance(came.error, Terminated)
    assert not came.endpoint.sent
    assert not came.records


def test_short_waits_add_up(tmp_path: Path):
    async def answer(_: str) -> Reply:
        raise TeacherUnavailable("503", 0.4 * PATIENCE_SECONDS, maybe_paid=False)

    came = asked(tmp_path, answer, number=1)
    assert isinstance(came.error, Transient)
    assert len(came.endpoint.sent) == 3


def test_a_503_that_says_come_back_at_once_is_not_hammered(tmp_path: Path):
    async def answer(_: str) -> Reply:
        raise TeacherUnavailable("503", 0.0, maybe_paid=False)

    came = asked(tmp_path, answer, number=1)
    assert isinstance(came.error, Transient)
    assert came.error.message == f"503 ({ATTEMPTS} times)"
    assert came.seconds >= 1 / 2 * sum(2**failures for failures in range(ATTEMPTS - 1))


def test_tokens_that_were_reserved_and_not_used_are_there_for_the_next_request(tmp_path: Path):
    # 24 answers reserve 1248 tokens and use 48, where there are 300 at once and 100 a second
    came = asked(tmp_path, held(), 24, tokens=bucket_per_minute(6000))
    assert came.error is None
    assert came.seconds < 1


def refusing(text: str, times: int, seconds: float) -> Answer:
    """This question is refused so often, with so many seconds to wait; the others are answered."""
    left = [RateLimited("429", seconds, {})] * times

    async def answer(asked_for: str) -> Reply:
        await asyncio.sleep(0.01)
        if asked_for == text and left:
            raise left.pop()
        return ANSWER

    return answer


def test_429_to_everybody_ends_the_attempt(tmp_path: Path):
    came = asked(tmp_path, refusing("question-0", 1000, 0.0), number=1)
    assert isinstance(came.error, Transient)
    assert "returned nothing but 429" in came.error.message
    assert "check the account's rate limit" in came.error.message
    assert PATIENCE_SECONDS < came.seconds < PATIENCE_SECONDS + 2 * LONGEST_LOOK


def test_a_request_may_be_refused_for_long_while_others_are_answered(tmp_path: Path):
    pause = 0.6 * PATIENCE_SECONDS
    came = asked(tmp_path, refusing("question-5", 3, pause), number=40)
    assert came.error is None
    assert came.endpoint.sent.count("question-5") == 4
    assert came.seconds > 2 * pause


@pytest.mark.parametrize(
    ("first", "number", "reason"),
    [
        pytest.param(TeacherUnavailable("a 503", 60.0, maybe_paid=False), 1, "after a 503", id="a 503 that asks for a moment"),
        pytest.param(Reply("x", "stop", ANSWER.usage, {"requests": RateLimitHeader(1, 0, 60.0)}), 6,
                     "because of the rate limits of the teacher http://teacher/v1", id="an announced limit"),
    ],
)  # fmt: skip
def test_a_wait_that_was_asked_for_is_told_while_it_lasts(
    tmp_path: Path, first: Exception | Reply, number: int, reason: str
):
    came = asked(tmp_path, once(first), number)
    assert came.error is None
    assert len(came.waits) > 1
    assert all(0 < left <= 60 for left in came.waits)
    assert set(came.reasons) == {reason}


def test_a_request_that_takes_long_is_no_wait(tmp_path: Path):
    async def answer(_: str) -> Reply:
        await asyncio.sleep(50)
        return ANSWER

    assert asked(tmp_path, answer, number=1).waits == []


def held(*texts: str, seconds: float = 1000.0) -> Answer:
    """These questions take so long."""

    async def answer(text: str) -> Reply:
        await asyncio.sleep(seconds if text in texts else 0)
        return ANSWER

    return answer


def after(seconds: float) -> Callable[[], bool]:
    """True that long after it was asked first."""
    asked_at: list[float] = []

    def stopping() -> bool:
        now = asyncio.get_running_loop().time()
        asked_at.append(now)
        return now - asked_at[0] >= seconds

    return stopping


def test_what_was_sent_and_is_given_up_at_a_stop_is_charged_and_asked_again(tmp_path: Path):
    came = asked(tmp_path, held("question-1", "question-2"), 3, after(0.7))
    assert isinstance(came.error, Terminated)
    assert came.seconds <= 0.7 + DRAIN_SECONDS + 2 * POLL_SECONDS
    assert sorted(record.outcome for record in came.records) == ["answer", "lost", "lost"]
    lost = [record for record in came.records if record.outcome == "lost"]
    assert {record.seed for record in lost} == {"s1", "s2"}
    assert all((record.output_tokens, record.estimated) == (LIMIT, True) for record in lost)

    resumed = asked(tmp_path, held(), 3)
    assert resumed.endpoint.sent == ["question-1", "question-2"]
    assert usage_of(resumed.records).teacher_requests == 5


def test_what_was_not_sent_at_a_stop_is_not_charged(tmp_path: Path):
    came = asked(tmp_path, held(*(f"question-{n}" for n in range(8))), 8, after(0.7))
    assert isinstance(came.error, Terminated)
    assert len(came.records) == len(came.endpoint.sent) <= 4


def test_an_answer_on_its_way_to_the_store_at_a_stop_is_an_answer(tmp_path: Path):
    class Slow(LocalStore):
        def write(self, key: str, data: bytes) -> None:
            virtualtime.sleep(2 * DRAIN_SECONDS)
            super().write(key, data)

    came = asked(tmp_path, held(), 3, after(0.3), store=Slow(tmp_path))
    assert isinstance(came.error, Terminated)
    assert [record.outcome for record in came.records] == ["answer"] * len(came.endpoint.sent)


def failing_first(others: Answer) -> Answer:
    """The first question ends the attempt a little later than the others are sent."""

    async def answer(text: str) -> Reply:
        if text != "question-0":
            return await others(text)
        await asyncio.sleep(0.5)
        raise TeacherUnavailable("503", 3600.0, maybe_paid=False)

    return answer


def test_after_an_error_what_is_in_flight_has_the_time_that_a_request_may_take(tmp_path: Path):
    came = asked(tmp_path, failing_first(held("question-1", seconds=2 * DRAIN_SECONDS)))
    assert isinstance(came.error, Transient)
    assert [(record.seed, record.outcome) for record in came.records] == [("s1", "answer")]


@pytest.mark.parametrize(
    ("timeout", "stop"),
    [
        pytest.param(500.0, 1.0, id="a SIGTERM presses"),
        pytest.param(0.3, 9999.0, id="the time of a request is over"),
    ],
)
def test_after_an_error_nothing_is_waited_for_without_end(tmp_path: Path, timeout: float, stop: float):
    came = asked(tmp_path, failing_first(held("question-1")), 2, after(stop), timeout=timeout)
    assert isinstance(came.error, Transient)
    assert came.seconds <= 1 + DRAIN_SECONDS + 2 * POLL_SECONDS
    assert [(record.seed, record.outcome) for record in came.records] == [("s1", "lost")]
