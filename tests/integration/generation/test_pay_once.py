"""The teacher is paid once, whatever happens to the process that asks.

By default a round of 120 requests is killed 4 times, once in a folder and once on S3; `LLM2LLM_SWEEP=full` kills one of
500 requests 20 times, and with `-s` prints what each kill cost.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.generation import rounds

from llm2llm.artifacts.committed import committed_manifest, read_object
from llm2llm.records import Report, to_jsonl
from llm2llm.runtime.context import Step
from llm2llm.stages import generate
from llm2llm.step import run_step
from llm2llm.storage import LocalStore, Store
from llm2llm.teacher.ledger import read_segments

FULL = os.environ.get("LLM2LLM_SWEEP") == "full"
KILLS = 20 if FULL else 4
ROWS = 500 if FULL else 120
LEDGER = "iterations/000/generate/ledger"
CONCURRENCY = 8 if FULL else 4
MISTAKES = 40
LATENCY = 0.05
LONGEST_LIFE = 1.2 * ROWS / KILLS
"""Answers from an attempt's first request to its kill, at most: the round is not over before the last kill."""


def round_of(folder: Path | Store, teacher: rounds.Teacher) -> tuple[Store, Step]:
    spec: dict[str, Any] = rounds.spec_for(teacher, concurrency=CONCURRENCY)
    spec["generate"]["rowsPerRound"] = ROWS
    return rounds.prepared(folder, spec, MISTAKES)


def unkilled(folder: Path) -> bytes:
    with rounds.Teacher() as teacher:
        store, step = round_of(folder, teacher)
        report = run_step(step, store, rounds.context_for("pod-a", folder))
        assert report.kept == ROWS
        assert report.usage.teacher_requests == teacher.stats()["answered"]
        assert teacher.stats()["repeated"] == 0
    return rounds.output(store, "synthetic.jsonl")


@pytest.fixture(params=["folder", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, bucket: Store) -> tuple[Store, dict[str, str]]:
    """Where a round lies, and the environment of a process that writes it."""
    return (bucket, s3.environment) if request.param == "S3" else (LocalStore(tmp_path / "round"), {})


def test_fault_46_a_round_that_is_killed_again_and_again_repeats_no_more_than_was_in_flight(
    tmp_path: Path, place: tuple[Store, dict[str, str]]
):
    killed, environ = place
    rng = random.Random(len(environ))
    with rounds.Teacher(latency=LATENCY) as teacher:
        store, step = round_of(killed, teacher)
        lost = [0]
        for attempt in range(KILLS):
            before = teacher.stats()
            process = rounds.worker(killed, step, f"pod-{attempt}", tmp_path, {**os.environ, **environ})
            # The process takes a moment to start: its life is counted from its first request.
            while process.alive() and teacher.stats()["requests"] == before["requests"]:
                time.sleep(0.005)
            until = before["answered"] + rng.uniform(0.0, LONGEST_LIFE)
            while process.alive() and teacher.stats()["answered"] < until:
                time.sleep(0.005)
            time.sleep(rng.uniform(0.0, LATENCY))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL  # it was killed, and had not ended by itself
            time.sleep(0.2)  # what was in flight is answered, and paid, for nobody
            answered = teacher.stats()["answered"]
            lost.append(answered - len(list(read_segments(store, LEDGER))))
            print(f"kill {attempt + 1}: {answered} answers paid for, {lost[-1] - lost[-2]} of them lost by it")
            assert 0 <= lost[-1] - lost[-2] <= CONCURRENCY
        assert rounds.worker(killed, step, "pod-last", tmp_path, {**os.environ, **environ}).wait(120) == 0
        stats = teacher.stats()
        print(f"{stats['answered']} answers to {stats['answeredDistinct']} requests, {stats['repeated']} repeated")
        assert stats["repeated"] == lost[-1]
        assert len(rounds.rows(store, "ledger.jsonl")) == stats["answeredDistinct"] >= ROWS
    assert rounds.output(store, "synthetic.jsonl") == unkilled(tmp_path / "whole")


def test_a_full_ledger_sends_nothing(tmp_path: Path):
    with rounds.Teacher() as teacher:
        store, step = rounds.prepared(tmp_path, rounds.spec_for(teacher))
        run_step(step, store, rounds.context_for("pod-a", tmp_path))
        synthetic, asked = rounds.output(store, "synthetic.jsonl"), teacher.stats()["requests"]
        store.delete("iterations/000/generate/manifest.json")
        run_step(step, store, rounds.context_for("pod-b", tmp_path))
        assert teacher.stats()["requests"] == asked
    assert rounds.output(store, "synthetic.jsonl") == synthetic


def test_sigterm_lets_what_is_in_flight_finish_and_records_it(tmp_path: Path):
    with rounds.Teacher(latency=0.2) as teacher:
        store, step = round_of(tmp_path, teacher)
        process = rounds.worker(tmp_path, step, "pod-a", tmp_path, os.environ)
        while teacher.stats()["answered"] < 6:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert rounds.worker(tmp_path, step, "pod-b", tmp_path, os.environ).wait(60) == 0
        assert teacher.stats()["repeated"] == 0
    assert len(rounds.rows(store, "synthetic.jsonl")) == ROWS


def test_fault_50_of_two_pods_at_once_one_wins_and_both_report_it(tmp_path: Path, place: tuple[Store, dict[str, str]]):
    where, environ = place
    with rounds.Teacher(latency=0.02) as teacher:
        store, step = rounds.prepared(where, rounds.spec_for(teacher, concurrency=CONCURRENCY))
        pods = [rounds.worker(where, step, f"pod-{name}", tmp_path, {**os.environ, **environ}) for name in ("a", "b")]
        assert [pod.wait(60) for pod in pods] == [0, 0]
        told = [pod.log_tail().splitlines()[-1] for pod in pods]
    manifest = committed_manifest(store, step)
    assert manifest is not None
    # a pod that starts only after the other has committed spends no time on the step
    reports = [Report.model_validate_json(line).model_copy(update={"seconds": {}}) for line in told]
    assert reports == [manifest.report.model_copy(update={"seconds": {}})] * 2
    assert len({entry.key.split("/")[4] for entry in manifest.objects}) == 1  # all of one pod
    assert all(read_object(store, manifest, entry.name) is not None for entry in manifest.objects)  # and undamaged
    assert len(rounds.rows(store, "synthetic.jsonl")) == 60


def test_the_committed_ledger_holds_what_was_judged_whatever_another_pod_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another pod of the step asks the same and is answered otherwise, as by a teacher that samples."""
    with rounds.Teacher() as teacher:
        store, step = rounds.prepared(tmp_path / "store", rounds.spec_for(teacher, samples=1), 12)
        play = generate._run_waves

        async def beside(*given: Any) -> Any:
            played = await play(*given)
            ours = read_segments(store, LEDGER)
            theirs = [record.model_copy(update={"text": '{"prompt": "another"}'}) for record in ours]
            store.write(f"{LEDGER}/pod-0/000000.jsonl", to_jsonl(theirs))
            return played

        monkeypatch.setattr(generate, "_run_waves", beside)
        run_step(step, store, rounds.context_for("pod-1", tmp_path))
    told = {record["key"]: json.loads(record["text"])["prompt"] for record in rounds.rows(store, "ledger.jsonl")}
    kept = rounds.rows(store, "synthetic.jsonl")
    assert len(kept) == 12
    assert all(told[row["lineage"]["requestKey"]] == row["fields"]["prompt"] for row in kept)
