"""A run that is held by a record: who gets it, when it changes hands, and what its former holder may still do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llm2llm.errors import ConfigurationError, StepError, Terminated, Transient
from llm2llm.local.heartbeat import (
    DOUBT_SECONDS,
    POLL_SECONDS,
    STALE_SECONDS,
    Heartbeat,
    hold_by_heartbeat,
    seconds_since_boot,
)
from llm2llm.local.holder import LOCK, Holder, read_holder
from llm2llm.storage import LocalStore, Store

FIRST, SECOND = (Holder(user="u", host=host, pid=1, since="now", token=host) for host in ("first", "second"))


class Waits(threading.Event):
    """An event whose waits pass time instead of spending it."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.now = 1000.0
        self.then = then

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        self.then()
        return self.is_set()


class Flaky(LocalStore):
    """A store that may be away, or lose what it answers to a write."""

    away = False
    loses = False

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        self._fail()
        return super().read_tagged(key)

    def create(self, key: str, data: bytes) -> bool:
        self._fail()
        return super().create(key, data) and not self.loses

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        self._fail()
        return super().replace(key, data, tag) and not self.loses

    def _fail(self) -> None:
        if self.away:
            raise Transient("the store is away")


@pytest.fixture
def store(tmp_path: Path) -> Flaky:
    return Flaky(tmp_path)


def heartbeat(store: Store, holder: Holder, time: Waits | None = None) -> Heartbeat:
    time = time or Waits()
    return Heartbeat(store, holder, time, clock=lambda: time.now, waiting_clock=lambda: time.now)


def claimed(store: Store, holder: Holder, time: Waits | None = None) -> Heartbeat:
    claimed = heartbeat(store, holder, time)
    claimed.claim(lambda _: None)
    return claimed


def held_by(store: Store) -> str:
    holder = read_holder(store.read(LOCK))
    return holder.token if holder else ""


@pytest.mark.parametrize("loses", [False, True], ids=["every answer comes", "no answer to a write comes"])
def test_a_free_run_is_taken_at_once_and_a_released_one_again(store: Flaky, loses: bool) -> None:
    store.loses = loses
    first = claimed(store, FIRST)
    assert held_by(store) == "first"
    for _ in range(3):
        first.renew()
        first.confirm()
    assert first.lost() is None
    first.release()
    assert held_by(store) == ""
    time = Waits()
    claimed(store, SECOND, time)
    assert held_by(store) == "second"
    assert time.now == 1000.0


def test_a_record_that_is_renewed_is_that_of_a_command_that_works(store: Flaky) -> None:
    first = claimed(store, FIRST)
    said: list[str] = []
    with pytest.raises(Transient, match="is in use by u@first"):
        heartbeat(store, SECOND, Waits(first.renew)).claim(said.append)
    assert held_by(store) == "first"
    assert [message.endswith("watching for up to 30 s if it still is") for message in said] == [True]


def test_a_record_that_is_not_renewed_is_taken_over_after_a_while_and_not_before(store: Flaky) -> None:
    claimed(store, FIRST)
    time = Waits()
    claimed(store, SECOND, time)
    assert held_by(store) == "second"
    assert STALE_SECONDS <= time.now - 1000.0 <= STALE_SECONDS + 2 * POLL_SECONDS


def test_a_holder_that_ends_meanwhile_is_not_waited_for(store: Flaky) -> None:
    first = claimed(store, FIRST)
    time = Waits(first.release)
    claimed(store, SECOND, time)
    assert time.now - 1000.0 == POLL_SECONDS


def test_of_two_that_take_over_one_does(store: Flaky) -> None:
    claimed(store, FIRST)
    third = Holder(user="u", host="third", pid=1, since="now", token="third")
    rival = heartbeat(store, third)
    won: list[Heartbeat] = []

    class Racing(Flaky):
        def replace(self, key: str, data: bytes, tag: str) -> bool:
            if not won:  # the rival is faster by this much
                won.append(claimed(store, third, Waits()))
            return super().replace(key, data, tag)

    time = Waits(lambda: won[0].renew() if won else None)
    with pytest.raises(Transient, match="is in use by u@third"):
        claimed(Racing(store.path("x").parent), SECOND, time)
    assert held_by(store) == "third"
    assert rival.lost() is None


def test_waiting_ends_with_ctrl_c(store: Flaky) -> None:
    claimed(store, FIRST)
    time = Waits()
    time.then = time.set
    with pytest.raises(Terminated):
        heartbeat(store, SECOND, time).claim(lambda _: None)
    assert held_by(store) == "first"


def test_a_holder_that_was_suspended_learns_it_before_it_pays(store: Flaky) -> None:
    time = Waits()
    first = claimed(store, FIRST, time)
    first.confirm()
    claimed(store, SECOND)
    first.confirm()  # its last renewal is fresh: nobody could have taken over on honest clocks
    time.now += DOUBT_SECONDS + 1
    assert first.lost() is None
    with pytest.raises(Transient, match="was taken over by another command"):
        first.confirm()
    assert first.lost() is not None
    assert time.is_set()
    first.renew()
    first.release()
    assert held_by(store) == "second"


def test_a_holder_that_slept_and_was_not_replaced_goes_on(store: Flaky) -> None:
    time = Waits()
    first = claimed(store, FIRST, time)
    time.now += 10 * STALE_SECONDS
    first.confirm()
    assert first.lost() is None
    assert not time.is_set()


def test_a_store_that_is_away_holds_payments_and_does_not_end_the_run(store: Flaky) -> None:
    time = Waits()
    first = claimed(store, FIRST, time)
    store.away = True
    first.confirm()
    time.now += DOUBT_SECONDS + 1
    with pytest.raises(StepError, match="the store is away"):
        first.confirm()
    assert not time.is_set()
    store.away = False
    first.confirm()


def test_a_record_that_a_person_removed_is_written_again(store: Flaky) -> None:
    first = claimed(store, FIRST)
    store.delete(LOCK)
    first.renew()
    assert held_by(store) == "first"
    first.confirm()
    assert first.lost() is None


def test_while_it_is_held_it_is_renewed_and_afterwards_released(store: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm2llm.local.heartbeat.BEAT_SECONDS", 0.01)
    renewed = threading.Event()

    class Watched(Flaky):
        def replace(self, key: str, data: bytes, tag: str) -> bool:
            renewed.set()
            return super().replace(key, data, tag)

    with hold_by_heartbeat(Watched(store.path("x").parent), FIRST, threading.Event(), lambda _: None):
        renewed.clear()
        assert renewed.wait(60)
        assert held_by(store) == "first"
    assert held_by(store) == ""


def test_a_store_that_cannot_replace_on_a_condition_is_used_without_and_that_is_told(store: Flaky) -> None:
    class Old(Flaky):
        def replace(self, *_: object) -> bool:
            raise ConfigurationError("A header is not implemented")

    said: list[str] = []
    for _ in range(2):
        with hold_by_heartbeat(Old(store.path("x").parent), FIRST, threading.Event(), said.append) as heartbeat:
            assert heartbeat is None
            assert list(store.list("")) == []
    assert [message.startswith("warning: nothing keeps a second command out of") for message in said] == [True] * 2
    assert said[0].endswith("A header is not implemented")


def test_a_record_that_a_crash_left_in_such_a_store_does_not_end_every_later_command(
    store: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old(Flaky):
        def replace(self, *_: object) -> bool:
            raise ConfigurationError("A header is not implemented")

    monkeypatch.setattr("llm2llm.local.heartbeat.STALE_SECONDS", 0.0)
    for left in (FIRST, FIRST.model_copy(update={"released": True})):
        store.write(LOCK, left.to_bytes())
        said: list[str] = []
        with hold_by_heartbeat(Old(store.path("x").parent), SECOND, threading.Event(), said.append) as heartbeat:
            assert heartbeat is None
        assert said[-1].startswith("warning: nothing keeps a second command out of")
        assert list(store.list("")) == []


def test_a_store_that_ignores_the_condition_is_used_without_and_that_is_told(store: Flaky) -> None:
    class Ignorant(Flaky):
        def replace(self, key: str, data: bytes, _: str) -> bool:
            self.write(key, data)
            return True

    said: list[str] = []
    with hold_by_heartbeat(Ignorant(store.path("x").parent), FIRST, threading.Event(), said.append) as heartbeat:
        assert heartbeat is None
        assert list(store.list("")) == []
    assert [message.endswith("it replaces an object whatever If-Match says") for message in said] == [True]


def test_where_no_clock_counts_from_the_boot_the_machines_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert seconds_since_boot() <= seconds_since_boot()
