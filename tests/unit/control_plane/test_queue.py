from __future__ import annotations

import asyncio

from llm2llm_operator.queue import WorkQueue

A, B = ("ns", "a"), ("ns", "b")


def test_duplicates_fold_and_order_is_kept():
    async def scenario() -> list[object]:
        queue = WorkQueue()
        for key in (A, B, A):
            queue.add(key)
        return [await queue.get(), await queue.get(), len(queue)]

    assert asyncio.run(scenario()) == [A, B, 0]


def test_a_key_that_is_added_during_its_own_pass_comes_back_after_it():
    async def scenario() -> list[object]:
        queue = WorkQueue()
        queue.add(A)
        first = await queue.get()
        queue.add(A)
        while_active = len(queue)
        queue.done(A)
        return [first, while_active, await queue.get()]

    assert asyncio.run(scenario()) == [A, 0, A]


def test_the_earliest_wake_up_time_stands():
    async def scenario() -> float:
        queue = WorkQueue()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        queue.add_after(A, 30)
        queue.add_after(A, 0.05)
        queue.add_after(A, 60)
        await queue.get()
        return loop.time() - begin

    assert asyncio.run(scenario()) < 5


def test_fault_45_failures_back_off_longer_each_time_up_to_five_minutes_and_success_forgets_them():
    async def scenario() -> list[float]:
        queue = WorkQueue()
        pauses = []
        for _ in range(12):
            queue.add(A)
            await queue.get()
            pauses.append(queue.failed(A))
        queue.add(A)
        await queue.get()
        queue.done(A)
        queue.add(A)
        await queue.get()
        pauses.append(queue.failed(A))
        return pauses

    pauses = asyncio.run(scenario())
    assert 0.75 <= pauses[0] <= 1
    assert pauses[3] > pauses[0]
    assert 225 <= pauses[11] <= 300
    assert pauses[12] <= 1


def test_it_tells_how_long_a_key_waited_and_the_oldest_waits():
    async def scenario() -> list[object]:
        waits: list[float] = []
        queue = WorkQueue(waits.append)
        queue.add(A)
        await asyncio.sleep(0.05)
        queue.add(B)
        oldest = queue.oldest_seconds()
        await queue.get()
        second = queue.oldest_seconds()
        await queue.get()
        return [oldest >= 0.05, second < oldest, waits[0] >= 0.05, waits[1] < waits[0], queue.oldest_seconds()]

    assert asyncio.run(scenario()) == [True, True, True, True, 0.0]
