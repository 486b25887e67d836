from __future__ import annotations

import asyncio
import contextlib
import copy
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import virtualtime

from llm2llm_operator.kube.errors import ApiUnavailable, Conflict
from llm2llm_operator.watch.lease import Action, Elector, ObservedLease, claim_body, decide, observe, release_body

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def lease(
    holder: str = "other", *, seconds: int | None = 15, renewed: datetime = NOON, **metadata: Any
) -> dict[str, Any]:
    spec = {"holderIdentity": holder or None, "leaseDurationSeconds": seconds, "renewTime": renewed.isoformat()}
    return {"metadata": {"name": "l", "resourceVersion": "7", **metadata}, "spec": spec}


SEEN_AT_100 = observe(None, lease(), 100.0)


@pytest.mark.parametrize(
    ("known", "body", "now", "move"),
    [
        pytest.param(None, None, 0.0, Action.CREATE, id="no lease: created"),
        pytest.param(SEEN_AT_100, None, 101.0, Action.CREATE, id="deleted by somebody: created"),
        pytest.param(None, lease("me"), 0.0, Action.RENEW, id="ours: renewed"),
        pytest.param(None, lease(""), 0.0, Action.TAKE, id="released: taken at once"),
        pytest.param(None, lease(), 10.0**9, Action.WAIT, id="another's, seen for the first time: waits, however old it looks"),
        pytest.param(SEEN_AT_100, lease(), 114.9, Action.WAIT, id="another's, unchanged for less than its duration: waits"),
        pytest.param(SEEN_AT_100, lease(), 115.0, Action.TAKE, id="another's, unchanged for its duration: taken"),
        pytest.param(SEEN_AT_100, lease(renewed=NOON + timedelta(seconds=2)), 115.0, Action.WAIT, id="renewed: waits anew"),
        pytest.param(SEEN_AT_100, lease(renewed=NOON - timedelta(days=99)), 115.0, Action.WAIT, id="renewed by a clock that went back: waits anew"),
        pytest.param(SEEN_AT_100, lease(renewed=NOON + timedelta(days=99)), 115.0, Action.WAIT, id="renewed by a clock far ahead: waits anew"),
        pytest.param(SEEN_AT_100, lease("third"), 115.0, Action.WAIT, id="taken by a third: waits anew"),
        pytest.param(SEEN_AT_100, lease(resourceVersion="8", labels={"a": "b"}), 115.0, Action.TAKE, id="a label renews nobody's lease"),
        pytest.param(observe(None, lease(seconds=60), 100.0), lease(seconds=60), 115.0, Action.WAIT, id="its own duration counts, not ours"),
        pytest.param(observe(None, lease(seconds=None), 100.0), lease(seconds=None), 115.0, Action.TAKE, id="without a duration, ours counts"),
    ],
)  # fmt: skip
def test_what_follows_from_the_lease_and_the_local_clock(
    known: ObservedLease | None, body: dict[str, Any] | None, now: float, move: Action
):
    assert decide(observe(known, body, now), "me", now) is move


def test_taking_counts_a_transition_and_keeps_what_others_wrote_on_the_lease():
    taken = claim_body(observe(None, lease(labels={"a": "b"}), 0.0), "ns", "l", "me", NOON)
    assert taken["metadata"] == {"name": "l", "resourceVersion": "7", "labels": {"a": "b"}}
    assert taken["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T12:00:00.000000Z",
        "renewTime": "2026-01-01T12:00:00.000000Z",
        "leaseTransitions": 1,
    }
    mine = observe(None, taken, 1.0)
    assert mine is not None
    renewed = claim_body(mine, "ns", "l", "me", NOON + timedelta(seconds=2))["spec"]
    assert (renewed["leaseTransitions"], renewed["acquireTime"]) == (1, "2026-01-01T12:00:00.000000Z")
    assert "holderIdentity" not in release_body(mine)["spec"]


class World:
    """One lease, one true time, and replicas whose clocks show what they like; without a seed time stands still."""

    def __init__(self, seed: int | None = None) -> None:
        self.now = 0.0
        self.calm = seed is None
        self.chance = random.Random(seed)
        self.body: dict[str, Any] | None = None
        self.electors: list[Elector] = []
        self.ever = set[int]()

    def add(self) -> None:
        offset = self.chance.uniform(-1e6, 1e6)
        elector = Elector(
            self, "ns", "l", f"r{len(self.electors)}",
            clock=lambda: self.now + offset,
            wall=lambda: NOON + timedelta(seconds=self.chance.uniform(-1e6, 1e6)),
        )  # fmt: skip
        self.electors.append(elector)

    def pass_time(self, longest: float) -> None:
        self.now += 0 if self.calm else self.chance.choice([0, 0, 0, 0.1, 1]) * longest
        leading = [number for number, elector in enumerate(self.electors) if elector.leads()]
        assert len(leading) <= 1
        self.ever.update(leading)

    async def get_lease(self, _namespace: str, _name: str) -> dict[str, Any] | None:
        self.pass_time(1)
        body = copy.deepcopy(self.body)
        self.pass_time(1)
        return body

    async def put_lease(self, _namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self.pass_time(2)
        version = int(self.body["metadata"]["resourceVersion"]) if self.body else 0
        if int(body["metadata"].get("resourceVersion", 0)) != version:
            raise Conflict(409, "Conflict", "")
        self.body = copy.deepcopy(body)
        self.body["metadata"]["resourceVersion"] = str(version + 1)
        self.pass_time(8)
        if not self.calm and self.chance.random() < 0.2:
            raise ApiUnavailable(0, "ServerDisconnectedError", "the answer was lost")
        return copy.deepcopy(self.body)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_clocks_delays_and_lost_answers_do_never_two_lead(seed: int):
    async def scenario() -> None:
        world = World(seed)
        for _ in range(3):
            world.add()
        for _ in range(80):
            elector = world.chance.choice(world.electors)
            with contextlib.suppress(Conflict, ApiUnavailable):
                await elector.step()
            world.pass_time(world.chance.choice([0, 0, 2, 7.5, 15]))
        assert world.ever  # or the test shows nothing

    asyncio.run(scenario())


def test_a_replica_looks_again_when_the_lease_of_another_expires():
    async def scenario() -> list[float]:
        world = World()
        world.add()
        world.add()
        first, second = world.electors
        await first.step()
        world.now = 3.0
        await second.step()
        waits = []
        for now in (3.0, 17.7, 18.0, 30.0):
            world.now = now
            waits.append(round(second._until_expiry(), 6))
        return waits

    assert asyncio.run(scenario()) == [15.0, 0.3, 0.1, 0.1]


async def for_ever() -> None:
    await asyncio.Event().wait()


def test_the_lease_is_released_when_the_process_is_told_to_end_and_the_other_takes_it():
    async def scenario() -> tuple[list[bool], Any]:
        world = World()
        world.add()
        world.add()
        first, second = world.electors
        begun = asyncio.Event()

        async def lead() -> None:
            begun.set()
            await for_ever()

        running = asyncio.create_task(first.run(lead))
        await begun.wait()
        before = [first.leads(), second.leads()]
        running.cancel()
        await asyncio.wait({running})
        holder = (world.body or {})["spec"].get("holderIdentity")
        await second.step()
        return [*before, first.leads(), second.leads()], holder

    assert asyncio.run(scenario()) == ([True, False, False, True], None)


def test_a_term_is_cancelled_when_somebody_else_holds_the_lease_and_the_next_one_begins_anew():
    async def scenario() -> list[str]:
        world = World()
        world.add()
        told: asyncio.Queue[str] = asyncio.Queue()

        async def lead() -> None:
            told.put_nowait("begin")
            try:
                await for_ever()
            finally:
                told.put_nowait("end")

        running = asyncio.create_task(world.electors[0].run(lead))
        heard = [await told.get()]
        assert world.body is not None
        world.body["metadata"]["resourceVersion"] = "50"
        world.body["spec"]["holderIdentity"] = "somebody"
        heard.append(await told.get())
        world.body["metadata"]["resourceVersion"] = "60"
        world.body["spec"]["holderIdentity"] = ""
        heard.append(await told.get())
        running.cancel()
        await asyncio.wait({running})
        return [*heard, await told.get()]

    assert virtualtime.run(asyncio.wait_for(scenario(), 60)) == ["begin", "end", "begin", "end"]


def test_what_the_leader_raises_ends_the_process():
    async def scenario() -> None:
        world = World()
        world.add()

        async def lead() -> None:
            raise RuntimeError("a bug")

        await world.electors[0].run(lead)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(scenario())
    assert str(caught.value.exceptions[0]) == "a bug"
