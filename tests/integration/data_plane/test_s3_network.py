"""Real S3 over a network that is slow and cuts connections: a TCP proxy stands before the server."""

from __future__ import annotations

import gc
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.data_plane.bench import Bench
from tests.integration.generation import rounds
from tests.support import keyword, pauses
from tests.support.tcpproxy import TcpProxy

from llm2llm.api.data import Artifacts
from llm2llm.errors import IncompatibleArtifacts, Transient
from llm2llm.records import Stage
from llm2llm.step import run_step
from llm2llm.storage.s3 import ATTEMPTS, S3Store
from llm2llm.teacher.ledger import read_segments

MEGABYTE = 1024 * 1024
LARGE = 40 * MEGABYTE
"""Three parts."""


# boto3 forgets the connection of an answer that it cannot parse, and leaves it to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses.leave_out(monkeypatch, pauses.OF_S3)


@pytest.fixture
def network(s3: S3Server) -> Iterator[TcpProxy]:
    with TcpProxy(urlsplit(s3.endpoint).port or 0) as proxy:
        yield proxy
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.fixture
def connect(network: TcpProxy, s3: S3Server, prefix: str) -> Callable[[int], S3Store]:
    """Makes a store at the other end of the network, with so many attempts."""
    endpoint = f"http://127.0.0.1:{network.port}"
    artifacts = Artifacts.model_validate({"uri": "s3://bucket/runs", "endpoint": endpoint, "pathStyle": True})
    return lambda attempts: S3Store(f"s3://bucket/{prefix}", artifacts, s3.environment, attempts=attempts)


@pytest.fixture
def store(connect: Callable[[int], S3Store]) -> S3Store:
    return connect(ATTEMPTS)


def test_fault_30_a_run_over_a_slow_network_that_cuts_connections_ends_as_one_on_a_disk(
    network: TcpProxy, store: S3Store, tmp_path: Path, student: Path
) -> None:
    bench, rng = Bench(tmp_path, student), random.Random(0)
    run, calm = bench.run("calm")
    shaken = keyword.Run(bench.document())
    network.latency = 0.01
    for direction in ("up", "down"):
        network.cut(direction, [rng.randrange(40_000) for _ in range(8)])
    shaken.add(run_step(shaken.step(Stage.PREPARE), store, bench.context("pod-2")))
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        run.add(run_step(run.step(stage), calm, bench.context("pod-1")))
        shaken.add(run_step(shaken.step(stage), store, bench.context("pod-2")))

    assert network.cuts > 8
    assert [report.digest for report in shaken.reports] == [report.digest for report in run.reports]


def test_fault_30_a_round_over_a_network_that_cuts_connections_pays_for_nothing_twice(
    network: TcpProxy, store: S3Store, tmp_path: Path
) -> None:
    rng = random.Random(1)
    with rounds.Teacher() as teacher:
        calm, step = rounds.prepared(tmp_path, rounds.spec_for(teacher))
        whole = run_step(step, calm, rounds.context_for("pod-1", tmp_path))
        _, step = rounds.prepared(store, rounds.spec_for(teacher))
        context = rounds.context_for("pod-2", tmp_path)

        def shake(_: Mapping[str, object]) -> None:
            """Cuts fewer connections than a request has attempts: else it is for the machine's speed to say whether one
            of them gets through.
            """
            if not network.cuts:
                for direction in ("up", "down"):
                    network.cut(direction, [rng.randrange(2_000) for _ in range(ATTEMPTS // 2 - 1)])

        context.progress = shake
        report = run_step(step, store, context)
        answered = teacher.stats()["answered"]

    assert network.cuts > 4
    assert report.digest == whole.digest
    assert answered == 2 * whole.usage.teacher_requests


def test_fault_30_a_round_whose_store_goes_away_ends_with_75_and_repeats_no_more_than_was_in_flight(
    network: TcpProxy, connect: Callable[[int], S3Store], tmp_path: Path
) -> None:
    with rounds.Teacher(latency=0.02) as teacher:
        store, step = rounds.prepared(connect(2), rounds.spec_for(teacher, concurrency=4))
        context = rounds.context_for("pod-1", tmp_path)

        def goes_away(event: Mapping[str, object]) -> None:
            if "step" in event:
                network.die("up", after=0)

        context.progress = goes_away
        with pytest.raises(Transient, match="ledger") as caught:
            run_step(step, store, context)
        assert caught.value.exit_code == 75
        network.heal()
        paid = teacher.stats()["answered"]
        lost = paid - len(list(read_segments(store, "iterations/000/generate/ledger")))
        assert 0 < lost < paid
        assert lost <= 4
        assert run_step(step, store, rounds.context_for("pod-2", tmp_path)).kept == 60
        assert teacher.stats()["repeated"] == lost


def test_fault_31_an_upload_that_breaks_off_leaves_no_object_and_is_done_anew(
    network: TcpProxy, connect: Callable[[int], S3Store], tmp_path: Path
) -> None:
    large, store = tmp_path / "large", connect(2)
    large.write_bytes(random.Random(0).randbytes(LARGE))
    network.die("up", after=LARGE // 2)
    with pytest.raises(Transient, match="large"):
        store.upload("large", large)
    network.heal()
    assert list(store.list("")) == []
    store.upload("large", large)
    store.download("large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large.read_bytes()


def test_fault_31_a_download_that_breaks_off_goes_on_and_is_whole(
    network: TcpProxy, store: S3Store, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(LARGE)
    store.write("large", data)
    network.cut("down", [LARGE // 5] * 3)
    store.download("large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == data
    network.cut("down", [LARGE // 5] * 3)
    assert store.read("large") == data
    assert network.cuts == 6


@pytest.mark.parametrize(
    ("damage", "words"), [(b"", "is damaged: 0 bytes"), (None, "is missing, although its manifest lists it")]
)
def test_fault_31_a_damaged_object_in_the_bucket_is_named(
    store: S3Store, tmp_path: Path, student: Path, damage: bytes | None, words: str
) -> None:
    bench = Bench(tmp_path, student)
    run = keyword.Run(bench.document())
    run.add(run_step(run.step(Stage.PREPARE), store, bench.context()))
    key = "inputs/data/pod-1/seed.jsonl"
    if damage is None:
        store.delete(key)
    else:
        store.write(key, damage)

    with pytest.raises(IncompatibleArtifacts, match=f"{key} {words}"):
        run_step(run.step(Stage.TRAIN), store, bench.context())


def test_a_disk_that_takes_less_than_it_is_given_gets_the_rest(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, pwrite = random.Random(4).randbytes(2 * MEGABYTE), os.pwrite
    store.write("key", data)
    monkeypatch.setattr("llm2llm.storage.s3.os.pwrite", lambda file, part, place: pwrite(file, part[:100_000], place))
    store.download("key", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == data


def test_an_object_that_is_replaced_while_it_is_downloaded_is_no_mixture_of_both(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("large", bytes(LARGE))
    part = store._part

    def replaced(*args: Any) -> tuple[int, str]:
        told = part(*args)
        store.write("large", bytes([1]) * LARGE)
        return told

    monkeypatch.setattr(store, "_part", replaced)
    with pytest.raises(Transient, match=r"large at http.*PreconditionFailed"):
        store.download("large", tmp_path / "large")
    assert not (tmp_path / "large").exists()


def test_fault_30_what_breaks_off_again_and_again_is_transient_and_says_how(network: TcpProxy, store: S3Store) -> None:
    store.write("large", bytes(MEGABYTE))
    network.cut("down", [MEGABYTE // 2] * 100)
    with pytest.raises(Transient, match=r"large at http.*expected"):
        store.read("large")
    assert network.cuts == ATTEMPTS


def test_fault_30_a_download_goes_on_where_it_broke_off(network: TcpProxy, store: S3Store, tmp_path: Path) -> None:
    """Twelve megabytes over connections that carry two each: every attempt but the last is cut."""
    data = random.Random(3).randbytes(12 * MEGABYTE)
    store.write("large", data)
    network.cut("down", [2 * MEGABYTE] * 100)
    store.download("large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == data
    assert 6 <= network.cuts < ATTEMPTS


@pytest.mark.parametrize("size", [MEGABYTE, 0], ids=["in the middle of an answer", "before any"])
def test_fault_30_a_server_that_falls_silent_is_given_up_after_so_many_attempts(
    network: TcpProxy, connect: Callable[[int], S3Store], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("llm2llm.storage.s3.SILENCE_SECONDS", 1)
    store = connect(3)
    store.write("large", bytes(2 * MEGABYTE))
    network.stall("down", after=size)
    with pytest.raises(Transient, match=r"large at http.*[Tt]imed? ?out"):
        store.read("large")
    assert network.cuts == 3 + bool(size)  # an answer that was begun, and three tries of the request that goes on


def test_a_file_that_cannot_be_made_is_told(store: S3Store, tmp_path: Path) -> None:
    store.write("key", b"data")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Transient, match=r"key: .*File exists"):
        store.download("key", tmp_path / "file" / "below")


def test_fault_30_a_download_that_gets_no_further_is_transient_and_leaves_no_file(
    network: TcpProxy, store: S3Store, tmp_path: Path
) -> None:
    store.write("large", bytes(LARGE))
    network.cut("down", [MEGABYTE] * 100)
    with pytest.raises(Transient, match="large at http"):
        store.download("large", tmp_path / "large")
    assert not (tmp_path / "large").exists()


@pytest.mark.parametrize("after", [60, 140, 220, 300])
def test_fault_30_an_answer_that_ends_within_its_headers_is_no_answer(
    network: TcpProxy, store: S3Store, tmp_path: Path, after: int
) -> None:
    """Without its length an answer looks whole, and as if nothing were there."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"data")
    large.write_bytes(random.Random(2).randbytes(LARGE))

    def through(verb: Callable[[], Any]) -> Any:
        network.cut("down", [after])
        return verb()

    for file in (small, large):
        through(partial(store.upload, file.name, file))
        through(partial(store.download, file.name, tmp_path / "got"))
        assert (tmp_path / "got").read_bytes() == file.read_bytes()
    assert through(lambda: store.read("small")) == b"data"
    assert list(through(lambda: list(store.list("")))) == ["large", "small"]
    assert network.cuts == 6
