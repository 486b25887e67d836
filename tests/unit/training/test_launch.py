"""What the parent makes of its ranks' messages; the processes themselves are tested with real ones."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from ctypes import c_byte
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from llm2llm.errors import AuthenticationError, GpuOutOfMemory, MetricInvalid, StepError, Transient
from llm2llm.training import launch
from llm2llm.training.callback import Hooks
from llm2llm.training.launch import _RankServer, _RemoteUpload, _SharedFlag

FOLLOWED = Transient("a rank that it waited for is gone")


class Parent:
    """A server of some ranks, whose ends of the pipes a test holds."""

    def __init__(self, ranks: int = 3) -> None:
        self.events: list[Mapping[str, object]] = []
        self.uploads: list[tuple[Path, int, int]] = []
        self.upload: Future[None] = Future()
        self.stopping = threading.Event()
        self.flag = _SharedFlag(c_byte(0))
        pipes = [Pipe() for _ in range(ranks)]
        self.ranks: list[Connection] = [rank for _, rank in pipes]
        self.alive, alive_w = Pipe(duplex=False)
        hooks = Hooks(self.save, self.stopping, self.events.append, lambda: 0.0, 300)
        self.server = _RankServer([parent for parent, _ in pipes], alive_w, hooks, self.flag)

    def save(self, folder: Path, step: int, micro_batch: int) -> Future[None]:
        self.uploads.append((folder, step, micro_batch))
        return self.upload

    def failure(self, errors: Mapping[int, StepError], first: int) -> Exception | None:
        with self.server:
            for rank, error in errors.items():
                self.ranks[rank].send(("failed", error))
        return self.server.failure(first)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Parent:
    monkeypatch.setattr(launch, "_LOOK_SECONDS", 0.01)
    return Parent()


@pytest.mark.parametrize(
    ("errors", "first", "told"),
    [
        pytest.param({}, 0, "None", id="a rank that was killed told nothing"),
        pytest.param({1: Transient("no space")}, 1, "no space", id="the rank that ended first"),
        pytest.param({0: FOLLOWED, 1: Transient("no space"), 2: FOLLOWED}, 1, "no space", id="and not those that followed it"),
        pytest.param({0: FOLLOWED, 2: GpuOutOfMemory("too little memory", 4)}, 0, "too little memory",
                     id="a lasting error counts more than the order"),
        pytest.param({0: FOLLOWED}, 1, "None", id="what followed the death of another says nothing about it"),
    ],
)  # fmt: skip
def test_the_most_telling_error_of_the_ranks_is_the_steps(
    parent: Parent, errors: dict[int, StepError], first: int, told: str
) -> None:
    assert str(parent.failure(errors, first)) == told


def test_an_error_comes_through_its_pipe_with_its_micro_batch(parent: Parent) -> None:
    error = parent.failure({1: GpuOutOfMemory("too little memory", 4)}, 1)
    assert isinstance(error, GpuOutOfMemory)
    assert error.micro_batch == 4


def test_a_checkpoint_that_the_store_refuses_ends_the_ranks_and_is_told_before_what_follows(parent: Parent) -> None:
    with parent.server:
        parent.upload.set_exception(AuthenticationError("the bucket refused the key"))
        parent.ranks[0].send(("save", Path("checkpoint"), 7, 4))
        assert parent.alive.poll(10)  # the parent's end is closed: every rank ends itself
        parent.ranks[1].send(("failed", MetricInvalid("the loss is not a number")))

    assert str(parent.server.failure(1)) == "the bucket refused the key"


def test_progress_is_passed_on_and_a_checkpoint_is_told_to_its_rank_once_it_is_in_the_store(parent: Parent) -> None:
    with parent.server:
        upload = _RemoteUpload(parent.ranks[0])
        parent.ranks[0].send(("save", Path("checkpoint"), 7, 4))
        parent.ranks[0].send(("progress", {"step": 8}))
        assert not upload.done()
        parent.upload.set_result(None)
        assert upload.result()
        assert upload.done()  # and again, without another message

    assert parent.uploads == [(Path("checkpoint"), 7, 4)]
    assert parent.events == [{"step": 8}]


def test_what_the_ranks_said_last_is_still_heard_when_the_training_is_over(parent: Parent) -> None:
    for step in range(50):
        parent.ranks[0].send(("progress", {"step": step}))
    with parent.server:
        pass
    assert len(parent.events) == 50


def test_a_sigterm_of_the_step_reaches_the_flag_of_all_ranks(parent: Parent) -> None:
    with parent.server:
        assert not parent.flag.is_set()
        parent.stopping.set()
        assert any(parent.flag.is_set() or parent.alive.poll(0.01) for _ in range(1000))
    assert parent.server.failure(0) is None
