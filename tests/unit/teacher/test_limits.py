"""Turns for requests: under the ceilings, one after the other, and none after a stop; in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine

import pytest
from tests.support import virtualtime

from llm2llm.teacher.limits import Limiter, Stopping, bucket_per_minute
from llm2llm.teacher.ratelimit_headers import RateLimitHeader


def run(scenario: Callable[[Limiter], Coroutine[None, None, None]], ceiling: int = 8) -> None:
    async def play() -> None:
        await scenario(Limiter(ceiling))

    virtualtime.run(play())


async def enters(limiter: Limiter, tokens: int = 0) -> None:
    async with limiter.slot(tokens):
        pass


def test_the_first_request_goes_alone():
    async def scenario(limiter: Limiter) -> None:
        async with limiter.slot(0):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(enters(limiter), 0.02)

    run(scenario)


def test_an_answer_that_is_not_on_record_yet_counts_against_the_ceiling():
    async def scenario(limiter: Limiter) -> None:
        async with limiter.slot(0) as sent:
            limiter.record_answer(sent, {})
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(enters(limiter), 0.02)

    run(scenario, ceiling=1)


def test_a_place_that_becomes_free_goes_to_who_waits():
    async def scenario(limiter: Limiter) -> None:
        async with limiter.slot(0) as sent:
            waiting = asyncio.create_task(enters(limiter))
            await asyncio.sleep(0.01)
            limiter.record_answer(sent, {})
        await asyncio.wait_for(waiting, 1)

    run(scenario)


@pytest.mark.parametrize("kind", ["requests", "tokens"])
def test_a_limit_that_an_answer_announces_is_waited_for(kind: str):
    async def scenario(limiter: Limiter) -> None:
        began = asyncio.get_running_loop().time()
        async with limiter.slot(0) as sent:
            limiter.record_answer(sent, {kind: RateLimitHeader(10, 0, 0.2)})
        await enters(limiter, tokens=5)
        assert asyncio.get_running_loop().time() - began >= 0.2

    run(scenario)


def test_of_an_announced_limit_of_requests_each_takes_one():
    async def scenario(limiter: Limiter) -> None:
        began = asyncio.get_running_loop().time()
        async with limiter.slot(0) as sent:
            limiter.record_answer(sent, {"requests": RateLimitHeader(10, 3, 1.0)})
        await enters(limiter)
        await enters(limiter)
        assert asyncio.get_running_loop().time() - began < 0.9  # of three a second the second goes after a third

    run(scenario)


def test_a_limit_that_a_refusal_announces_is_waited_for():
    async def scenario(limiter: Limiter) -> None:
        limiter.pace.rate = 1000.0  # so that the pause of its own is short
        began = asyncio.get_running_loop().time()
        async with limiter.slot(0) as sent:
            limiter.record_429(sent, {"tokens": RateLimitHeader(10, 0, 0.2)}, None)
        await enters(limiter, tokens=5)
        assert asyncio.get_running_loop().time() - began >= 0.2

    run(scenario)


def test_a_ceiling_of_tokens_a_minute_is_waited_for():
    async def scenario(limiter: Limiter) -> None:
        limiter.tokens = bucket_per_minute(6000)  # 300 at once, 100 a second
        began = asyncio.get_running_loop().time()
        await enters(limiter, tokens=300)
        assert asyncio.get_running_loop().time() - began < 0.2
        await enters(limiter, tokens=20)
        assert asyncio.get_running_loop().time() - began >= 0.2

    run(scenario)


@pytest.mark.parametrize(
    ("failures", "longest"),
    [
        pytest.param(1, 1, id="a second at first"),
        pytest.param(2, 2, id="doubled with each failure"),
        pytest.param(6, 32, id="and again"),
        pytest.param(7, 60, id="up to a minute"),
        pytest.param(50, 60, id="and never beyond"),
    ],
)
def test_a_failed_request_is_sent_again_after_half_its_pause_at_least(failures: int, longest: float):
    pauses = [Limiter(1, rng=random.Random(seed)).backoff(failures) for seed in range(50)]
    assert longest / 2 <= min(pauses) < 0.6 * longest
    assert 0.9 * longest < max(pauses) <= longest


def test_a_stop_wakes_everybody_who_waits():
    async def scenario(limiter: Limiter) -> None:
        async with limiter.slot(0):
            waiting = [asyncio.create_task(enters(limiter)) for _ in range(2)]
            waiting.append(asyncio.create_task(limiter.sleep(60)))
            await asyncio.sleep(0.01)
            limiter.stop()
            ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
            assert [type(error) for error in ended] == [Stopping] * 3

    run(scenario)


def test_a_stop_ends_the_wait_for_a_ceiling_a_minute():
    async def scenario(limiter: Limiter) -> None:
        limiter.requests = bucket_per_minute(1)
        async with limiter.slot(0) as sent:
            limiter.record_answer(sent, {})
        waiting = asyncio.create_task(enters(limiter))
        await asyncio.sleep(0.01)
        limiter.stop()
        with pytest.raises(Stopping):
            await asyncio.wait_for(waiting, 1)

    run(scenario)
