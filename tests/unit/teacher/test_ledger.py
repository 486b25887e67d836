"""The ledger's key, and reading what several pods wrote."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from llm2llm.errors import IncompatibleArtifacts, Transient
from llm2llm.records import to_jsonl
from llm2llm.storage import LocalStore
from llm2llm.teacher.ledger import LedgerRecord, Request, merge_records, open_ledger, read_segments, usage_of

REQUEST = Request(
    seed="s1",
    seed_digest="sha256:1",
    iteration=0,
    sample=1,
    wave=0,
    messages=[{"role": "user", "content": "hello"}],
    schema={"type": "object"},
)


def record(key: str, **changes: object) -> LedgerRecord:
    fields: dict[str, object] = {
        "key": key,
        "iteration": 0,
        "seed": "s1",
        "sample": 1,
        "wave": 0,
        "model": "m",
        "text": "x",
        "input_tokens": 3,
        "output_tokens": 2,
    }
    return LedgerRecord.model_validate(fields | changes)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(replace(REQUEST, seed_digest="sha256:2"), id="another seed"),
        pytest.param(replace(REQUEST, iteration=1), id="another iteration"),
        pytest.param(replace(REQUEST, sample=2), id="another sample"),
        pytest.param(replace(REQUEST, wave=1), id="another wave"),
        pytest.param(replace(REQUEST, messages=[{"role": "user", "content": "hi"}]), id="another prompt"),
        pytest.param(replace(REQUEST, schema={}), id="another schema"),
    ],
)
def test_another_question_has_another_key(changed: Request):
    assert changed.key("m", {}) != REQUEST.key("m", {})


def test_the_key_knows_model_and_parameters_and_nothing_of_the_process():
    assert REQUEST.key("m", {}) == replace(REQUEST, seed="renamed").key("m", {})
    assert REQUEST.key("n", {}) != REQUEST.key("m", {})
    assert REQUEST.key("m", {"temperature": "1"}) != REQUEST.key("m", {})
    assert REQUEST.key("m", {"a": "1", "b": "2"}) == REQUEST.key("m", {"b": "2", "a": "1"})


def test_a_prompt_digest_is_that_of_the_chat_and_of_nothing_else():
    other = replace(REQUEST, messages=[{"role": "user", "content": "hello again"}])
    assert re.fullmatch("sha256:[0-9a-f]{64}", REQUEST.prompt_digest)
    assert REQUEST.prompt_digest == replace(REQUEST, sample=2, seed="s2").prompt_digest != other.prompt_digest


async def added(store: LocalStore, pod: str, records: list[LedgerRecord]) -> None:
    ledger = open_ledger(store, "ledger", pod, lambda: len(records))
    writer = asyncio.create_task(ledger.run())
    try:
        await asyncio.gather(*(ledger.add(one) for one in records))
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


def test_requests_in_flight_together_share_one_segment(tmp_path: Path):
    store = LocalStore(tmp_path)
    asyncio.run(added(store, "pod-a", [record("k1"), record("k2"), record("k3")]))
    assert list(store.list("ledger/")) == ["ledger/pod-a/000000.jsonl"]


def test_segments_of_all_pods_are_read_as_one(tmp_path: Path):
    store = LocalStore(tmp_path)
    asyncio.run(added(store, "pod-b", [record("k2"), record("k1", text="twice")]))
    asyncio.run(added(store, "pod-a", [record("k1"), record("k3", outcome="lost", text="")]))
    ledger = open_ledger(store, "ledger", "pod-c", lambda: 0)
    assert set(ledger.answers) == {"k1", "k2"}  # a lost request is no answer
    assert ledger.answers["k1"].text == "x"
    assert usage_of(ledger.records).teacher_requests == 4  # and each was paid for
    assert usage_of(ledger.records).teacher_input_tokens == 12
    assert [line.count(b'"key":"k') for line in merge_records(ledger.records).splitlines()] == [1, 1]


def test_a_damaged_segment_is_not_guessed_at(tmp_path: Path):
    store = LocalStore(tmp_path)
    store.write("ledger/pod-a/000000.jsonl", b'{"key":\n')
    with pytest.raises(IncompatibleArtifacts, match=r"pod-a/000000\.jsonl cannot be read"):
        list(read_segments(store, "ledger"))


def test_a_store_that_fails_fails_the_requests_that_wait_for_it(tmp_path: Path):
    class Broken(LocalStore):
        def write(self, key: str, data: bytes) -> None:  # noqa: ARG002 - the protocol's
            raise Transient("the disk is full")

    with pytest.raises(Transient, match="full"):
        asyncio.run(added(Broken(tmp_path), "pod-a", [record("k1")]))

    async def left_at_a_stop() -> list[LedgerRecord]:
        ledger = open_ledger(Broken(tmp_path), "ledger", "pod-a", lambda: 0)
        ledger.leave(record("k2"))
        await ledger.close()
        return ledger.records

    assert asyncio.run(left_at_a_stop()) == []  # nobody waits for it, so nothing fails


def test_what_an_endpoint_refused_for_a_reason_of_its_own_is_asked_again_at_the_next_attempt(tmp_path: Path):
    store = LocalStore(tmp_path)
    written = [record("a", finish="refused", text="that is odd"), record("b", finish="content_filter"), record("c")]
    store.write("ledger/pod-1/000000.jsonl", to_jsonl(written))
    ledger = open_ledger(store, "ledger", "pod-2", lambda: 0)
    assert [ledger.answer(key) is not None for key in "abc"] == [False, True, True]
    assert usage_of(ledger.records).teacher_requests == 3  # and it was counted


def test_an_answer_stands_for_a_request_that_was_refused_before_it():
    refused, answered = record("a", finish="refused"), record("a", text="y")
    assert merge_records([refused, answered]) == merge_records([answered])
    assert merge_records([answered, refused]) == merge_records([answered])
    assert merge_records([refused]) == to_jsonl([refused])
