"""Pay once: a durable record of each answer that was paid for.

A request keeps its concurrency slot until its record is in the store, so a crash can repeat at most as many requests
as were in flight. Records are written in groups, one segment a commit, under a folder of this pod's own; whoever comes
next reads all segments of all pods as one.
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

GROUP_SECONDS = 0.25
"""How long the first record of a group waits for others."""
_READERS = 8


class LedgerRecord(Record):
    """One request that was, or may have been, paid for.

    `outcome` is answer, or lost for one that timed out, or was given up, after it was sent: its tokens are an estimate
    (`estimated`), and it is no answer to anything.
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


@dataclass(frozen=True)
class Request:
    """What is asked of the teacher: everything that the ledger's key depends on."""

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
        """Equal for two requests exactly when one's answer can stand for the other's."""
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
    """The records of one generation step. Made by `open_ledger`; `run` has to be running while records are added."""

    store: Store
    folder: str
    pod_uid: str
    records: list[LedgerRecord]
    answers: dict[str, LedgerRecord]
    in_flight: Callable[[], int]
    others: Mapping[str, LedgerRecord] = field(default_factory=dict)
    """Answers that another run has paid for."""
    replayed: dict[str, LedgerRecord] = field(default_factory=dict)
    """Those of them that this round used."""
    _waiting: list[tuple[LedgerRecord, asyncio.Future[None]]] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _sequence: Iterator[int] = field(default_factory=count)
    _writing: asyncio.Future[None] | None = None

    def answer(self, key: str) -> LedgerRecord | None:
        """The answer to a request that nobody has to pay for any more."""
        if key not in self.answers and key in self.others:
            self.replayed[key] = self.others[key]
        return self.answers.get(key) or self.others.get(key)

    async def add(self, record: LedgerRecord) -> None:
        """Returns once the record is durable."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, durable))
        self._arrived.set()
        await durable

    def leave(self, record: LedgerRecord) -> None:
        """Has a record written by `close` at the latest; nobody waits for it, or hears that it could not be."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        durable.cancel()
        self._waiting.append((record, durable))

    async def close(self) -> None:
        """Writes what is left once `run` was cancelled."""
        if self._writing is not None:
            await self._writing
        group, self._waiting = self._waiting, []
        if group:
            await self._commit(group)

    async def run(self) -> None:
        """Writes what arrives, in groups, until it is cancelled; `close` has to follow."""
        while True:
            await self._arrived.wait()
            await self._gather_group()
            self._arrived.clear()
            group, self._waiting = self._waiting, []
            self._writing = asyncio.ensure_future(self._commit(group))
            await asyncio.shield(self._writing)

    async def _gather_group(self) -> None:
        """Waits for company: until all that are in flight have arrived, or the group's time is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + GROUP_SECONDS
        while len(self._waiting) < self.in_flight() and (left := end - loop.time()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    async def _commit(self, group: Sequence[tuple[LedgerRecord, asyncio.Future[None]]]) -> None:
        key = f"{self.folder}/{self.pod_uid}/{next(self._sequence):06d}.jsonl"
        try:
            await asyncio.to_thread(self.store.write, key, to_jsonl(record for record, _ in group))
        except Exception as error:  # noqa: BLE001 - each of them belongs to the requests that wait for this segment
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
    """The ledger below `folder`, with what all pods have recorded so far.

    Args:
        in_flight: tells how many requests hold a slot now.
        others: request key to an answer that another run has paid for.
    """
    records = list(read_segments(store, folder))
    answers: dict[str, LedgerRecord] = {}
    for record in records:
        if record.outcome == "answer":
            answers.setdefault(record.key, record)
    return Ledger(store, folder, pod_uid, records, answers, in_flight, others or {})


def read_segments(store: Store, folder: str) -> Iterator[LedgerRecord]:
    """Every record of every pod, in the order of the segments' names.

    Raises:
        IncompatibleArtifacts: a segment cannot be read; what was paid for is not guessed at.
    """
    keys = list(store.list(f"{folder}/"))
    with ThreadPoolExecutor(_READERS) as readers:
        for key, data in zip(keys, readers.map(store.read, keys), strict=True):
            try:
                yield from records_from_jsonl(data)
            except ValueError as error:
                raise IncompatibleArtifacts(f"{store.uri}/{key} cannot be read: {error}") from error


def records_from_jsonl(data: bytes) -> list[LedgerRecord]:
    """Records of a segment, or of a committed `ledger.jsonl`."""
    return [LedgerRecord.model_validate_json(line) for line in data.splitlines()]


def usage_of(records: Iterable[LedgerRecord]) -> Usage:
    """What these records cost: each was sent once, also where two pods asked for the same."""
    listed = list(records)
    return Usage(
        teacher_requests=len(listed),
        teacher_input_tokens=sum(record.input_tokens for record in listed),
        teacher_output_tokens=sum(record.output_tokens for record in listed),
    )


def merge_records(records: Iterable[LedgerRecord]) -> bytes:
    """`ledger.jsonl` of a committed step: one answer a request, in the order of the keys, so equal for equal rounds."""
    answers: dict[str, LedgerRecord] = {}
    for record in records:
        if record.outcome == "answer":
            answers.setdefault(record.key, record)
    return to_jsonl(answers[key] for key in sorted(answers))
