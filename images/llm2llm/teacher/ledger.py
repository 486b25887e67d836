"""Keeps a durable record of each answer that was paid for, so that it is paid for once.

A request keeps its concurrency slot until its record is in the store, so a crash can repeat at most as many requests
as were in flight. Records are written in groups, one segment per commit, in this pod's own folder; the next pod reads
the segments of all pods as one ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from llm2llm.errors import IncompatibleArtifacts
from llm2llm.records import Record, Usage, digest_of, to_jsonl
from llm2llm.storage import Store
from llm2llm.teacher.reply import REFUSED

GROUP_SECONDS = 0.25
"""Seconds that the first record of a group waits for others."""
_READERS = 8


class LedgerRecord(Record):
    """One request that was, or may have been, paid for.

    `outcome` is answer, or lost for a request that timed out or was given up after it was sent: its tokens are an
    estimate (`estimated`), and it answers nothing.
    """

    version: int = 1
    key: str
    iteration: int
    seed: str
    sample: int
    wave: int
    model: str
    outcome: Literal["answer", "lost"] = "answer"
    finish: str = "stop"
    text: str = ""
    prompt_digest: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False

    @property
    def is_answer(self) -> bool:
        """Whether it stands for its request at the next attempt, too.

        A refusal for a reason of the endpoint's own does not: what an endpoint did to a request is no answer.
        """
        return self.outcome == "answer" and self.finish != REFUSED


@dataclass(frozen=True)
class Request:
    """A request to the teacher: everything that its key in the ledger depends on."""

    seed: str
    seed_digest: str
    iteration: int
    sample: int
    wave: int
    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any]

    @property
    def prompt_digest(self) -> str:
        return digest_of([dict(message) for message in self.messages])

    def key(self, model: str, parameters: Mapping[str, str]) -> str:
        """Returns the request's key; two are equal exactly when one's answer can stand for the other's."""
        return digest_of(
            {
                "model": model,
                "parameters": dict(parameters),
                "schema": self.schema,
                "messages": [dict(message) for message in self.messages],
                "seedDigest": self.seed_digest,
                "iteration": self.iteration,
                "sample": self.sample,
                "wave": self.wave,
            }
        )


@dataclass
class Ledger:
    """The records of one generation step. `open_ledger` creates it; `run` has to be running while records are added."""

    store: Store
    folder: str
    pod_uid: str
    records: list[LedgerRecord]
    answers: dict[str, LedgerRecord]
    in_flight: Callable[[], int]
    others: Mapping[str, LedgerRecord] = field(default_factory=dict)
    """Answers that another run has paid for."""
    replayed: dict[str, LedgerRecord] = field(default_factory=dict)
    """Those of `others` that this round used."""
    _pending: list[tuple[LedgerRecord, asyncio.Future[None]]] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _sequence: Iterator[int] = field(default_factory=count)
    _writing: asyncio.Future[None] | None = None

    def answer(self, key: str) -> LedgerRecord | None:
        """Returns the recorded answer to a request, which need not be paid for again, or None."""
        if key not in self.answers and key in self.others:
            self.replayed[key] = self.others[key]
        return self.answers.get(key) or self.others.get(key)

    async def add(self, record: LedgerRecord) -> None:
        """Adds a record and returns once it is durable."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((record, durable))
        self._arrived.set()
        await durable

    def leave(self, record: LedgerRecord) -> None:
        """Queues a record that `close` writes at the latest; nobody waits for it or learns that the write failed."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        durable.cancel()
        self._pending.append((record, durable))

    async def close(self) -> None:
        """Writes the remaining records after `run` was canceled."""
        if self._writing is not None:
            await self._writing
        group, self._pending = self._pending, []
        if group:
            await self._commit(group)

    async def run(self) -> None:
        """Writes incoming records in groups until it is canceled; `close` has to follow."""
        while True:
            await self._arrived.wait()
            await self._gather_group()
            self._arrived.clear()
            group, self._pending = self._pending, []
            self._writing = asyncio.ensure_future(self._commit(group))
            await asyncio.shield(self._writing)

    async def _gather_group(self) -> None:
        """Waits until all requests in flight have left a record, or the group's time is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + GROUP_SECONDS
        while len(self._pending) < self.in_flight() and (seconds_left := end - loop.time()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), seconds_left)
            except TimeoutError:
                return

    async def _commit(self, group: Sequence[tuple[LedgerRecord, asyncio.Future[None]]]) -> None:
        key = f"{self.folder}/{self.pod_uid}/{next(self._sequence):06d}.jsonl"
        try:
            await asyncio.to_thread(self.store.write, key, to_jsonl(record for record, _ in group))
        except Exception as error:  # noqa: BLE001 - every error is passed to the requests that wait for this segment
            for _, durable in group:
                if not durable.done():
                    durable.set_exception(error)
            return
        for record, durable in group:
            self.records.append(record)
            if record.outcome == "answer":
                self.answers.setdefault(record.key, record)
            if not durable.done():
                durable.set_result(None)


def open_ledger(
    store: Store,
    folder: str,
    pod_uid: str,
    in_flight: Callable[[], int],
    others: Mapping[str, LedgerRecord] | None = None,
) -> Ledger:
    """Opens the ledger below `folder`, with what all pods have recorded so far.

    Args:
        in_flight: returns how many requests hold a slot now.
        others: maps a request key to an answer that another run has paid for.
    """
    records = list(read_segments(store, folder))
    answers: dict[str, LedgerRecord] = {}
    for record in records:
        if record.is_answer:
            answers.setdefault(record.key, record)
    return Ledger(store, folder, pod_uid, records, answers, in_flight, others or {})


def read_segments(store: Store, folder: str) -> Iterator[LedgerRecord]:
    """Yields every record of every pod, in the order of the segments' names.

    Raises:
        IncompatibleArtifacts: a segment cannot be read; what was paid for is not guessed.
    """
    keys = list(store.list(f"{folder}/"))
    with ThreadPoolExecutor(_READERS) as readers:
        for key, data in zip(keys, readers.map(store.read, keys), strict=True):
            try:
                yield from records_from_jsonl(data)
            except ValueError as error:
                raise IncompatibleArtifacts(f"{store.uri}/{key} cannot be read: {error}") from error


def records_from_jsonl(data: bytes) -> list[LedgerRecord]:
    """Parses the records of a segment or of a committed `ledger.jsonl`."""
    return [LedgerRecord.model_validate_json(line) for line in data.splitlines()]


def usage_of(records: Iterable[LedgerRecord]) -> Usage:
    """Sums the cost of these records; each was sent once, even if two pods sent the same request."""
    listed = list(records)
    return Usage(
        teacher_requests=len(listed),
        teacher_input_tokens=sum(record.input_tokens for record in listed),
        teacher_output_tokens=sum(record.output_tokens for record in listed),
    )


def merge_records(records: Iterable[LedgerRecord]) -> bytes:
    """Builds `ledger.jsonl` of a committed step: one answer per request, sorted by key, so equal for equal rounds."""
    answers: dict[str, LedgerRecord] = {}
    for record in records:
        known = answers.get(record.key)
        if record.outcome == "answer" and (known is None or (record.is_answer and not known.is_answer)):
            answers[record.key] = record
    return to_jsonl(answers[key] for key in sorted(answers))
