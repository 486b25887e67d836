from __future__ import annotations

import asyncio

import pytest

from llm2llm_operator.model.run import Key
from llm2llm_operator.watch.workqueue import MAX_LOW_PRIORITY_WORKERS, WorkQueue

A, B = ("ns", "a"), ("ns", "b")


def test_duplicates_fold_and_order_is_kept():
    async def scenario() -> list[object]:
        queue = WorkQueue()
        for key in (A, B, A):
            queue.add(key)
        return [await queue.get(), await queue.get(), len(queue)]

    assert asyncio.run(scenario()) == [A, B, 0]


def test_what_is_not_urgent_waits_for_what_is_and_may_become_urgent_itself():
    async def scenario() -> list[object]:
        queue = WorkQueue()
        for name in "abc":
            queue.add(("ns", name), urgent=False)
        queue.add(("ns", "u"))
        queue.add(("ns", "b"))
        waiting = len(queue)
        return [waiting, *[(await queue.get())[1] for _ in range(4)]]

    assert asyncio.run(scenario()) == [4, "u", "b", "a", "c"]


def test_a_busy_queue_does_not_put_off_for_ever_what_is_not_urgent():
    async def scenario() -> int:
        queue = WorkQueue()
        queue.add(A, urgent=False)
        for turn in range(1, 100):
            queue.add(B)
            key = await queue.get()
            queue.done(key)
            if key == A:
                return turn
        return 0

    assert 0 < asyncio.run(scenario()) < 20


def test_few_passes_at_once_are_not_urgent_and_the_next_begins_when_one_is_over():
    async def scenario() -> tuple[int, object, object]:
        queue = WorkQueue()
        for number in range(MAX_LOW_PRIORITY_WORKERS + 3):
            queue.add(("ns", str(number)), urgent=False)
        taken = [await queue.get() for _ in range(MAX_LOW_PRIORITY_WORKERS)]
        left = len(queue)
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add(("ns", "urgent"))
        urgent = await waiting
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.retry_later(taken[0])
        return left, urgent, await waiting

    assert asyncio.run(scenario()) == (3, ("ns", "urgent"), ("ns", str(MAX_LOW_PRIORITY_WORKERS)))


def test_fault_53_namespaces_are_served_in_turn():
    async def scenario() -> list[object]:
        queue = WorkQueue()
        for number in range(1_000):
            queue.add(("crowd", str(number)))
        for key in (("one", "a"), ("two", "b"), ("one", "c")):
            queue.add(key)
        return [await queue.get() for _ in range(7)]

    assert asyncio.run(scenario()) == [
        ("crowd", "0"), ("one", "a"), ("two", "b"), ("crowd", "1"), ("one", "c"), ("crowd", "2"), ("crowd", "3")
    ]  # fmt: skip


def test_fault_53_a_namespace_keeps_no_more_than_its_share_of_the_workers_busy_also_while_it_is_alone():
    async def begin(queue: WorkQueue, passes: int) -> list[str]:
        begun = []
        for _ in range(passes):
            try:
                begun.append((await asyncio.wait_for(queue.get(), 0.05))[0])
            except TimeoutError:
                break
        return begun

    async def scenario() -> list[object]:
        queue = WorkQueue(workers=12)
        for number in range(10):
            queue.add(("crowd", str(number)))
        alone = await begin(queue, 6)
        queue.add(("few", "a"))
        other = await begin(queue, 6)
        queue.done(("crowd", "0"))
        after = await begin(queue, 6)
        return [alone, other, after]

    assert asyncio.run(scenario()) == [["crowd"] * 2, ["few"], ["crowd"]]


def test_keys_that_are_not_urgent_are_served_while_a_namespace_has_its_share():
    async def scenario() -> list[object]:
        queue = WorkQueue(workers=6)
        queue.add(B)
        queue.done(await queue.get())
        for key in (("crowd", "a"), ("crowd", "b")):
            queue.add(key)
        queue.add(("crowd", "later"), urgent=False)
        return [await queue.get(), await queue.get(), len(queue)]

    assert asyncio.run(scenario()) == [("crowd", "a"), ("crowd", "later"), 1]


async def next_key(queue: WorkQueue) -> Key | None:
    """The key that a worker would get now."""
    worker = asyncio.create_task(queue.get())
    for _ in range(3):
        await asyncio.sleep(0)
    if worker.done():
        return worker.result()
    worker.cancel()
    return None


@pytest.mark.parametrize("workers", [1, 4, 8, 23, 64])
def test_fault_53_a_resync_takes_nothing_of_a_namespaces_share(workers: int):
    async def scenario() -> list[Key | None]:
        queue = WorkQueue(workers=workers)
        for number in range(100):
            queue.add(("ns", f"old-{number}"), urgent=False)
        taken = [await queue.get() for _ in range(min(workers, MAX_LOW_PRIORITY_WORKERS))]
        queue.add(("ns", "new"))
        queue.done(taken.pop())  # the worker that is free again
        following = await next_key(queue)
        if following:
            queue.done(following)
        queue.add(("ns", "another"))
        return [following, await next_key(queue)]

    assert asyncio.run(scenario()) == [("ns", "new"), ("ns", "another")]


def test_fault_53_urgent_passes_are_held_to_the_share_also_during_a_resync():
    async def scenario() -> list[Key | None]:
        queue = WorkQueue(workers=6)
        for name in ("old", "older"):
            queue.add(("ns", name), urgent=False)
        low = [await queue.get(), await queue.get()]
        for name in ("new", "newer"):
            queue.add(("ns", name))
        first = await next_key(queue)
        for key in low:
            queue.done(key)
        second = await next_key(queue)
        queue.done(("ns", "new"))
        return [first, second, await next_key(queue)]

    assert asyncio.run(scenario()) == [("ns", "new"), None, ("ns", "newer")]


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
            pauses.append(queue.retry_later(A))
        queue.add(A)
        await queue.get()
        queue.done(A)
        queue.add(A)
        await queue.get()
        pauses.append(queue.retry_later(A))
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
