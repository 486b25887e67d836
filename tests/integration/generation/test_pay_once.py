"""The teacher is paid once, whatever happens to the process that asks."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.integration.generation import rounds

from llm2llm.stages import generate

CONCURRENCY = 4
MISTAKES = 40
ROWS = 3 * MISTAKES


def unkilled(folder: Path) -> bytes:
    with rounds.teacher_server() as teacher:
        store, step = rounds.prepared(folder, rounds.spec_for(teacher), MISTAKES)
        report = generate.run(step, store, rounds.context_for("pod-a", folder))
        assert report.kept == ROWS
        assert report.usage.teacher_requests == teacher.stats()["answered"]
        assert teacher.stats()["repeated"] == 0
    return rounds.output(store, "synthetic.jsonl")


@pytest.mark.parametrize("seed", range(3))
def test_a_round_that_is_killed_again_and_again_repeats_no_more_than_was_in_flight(tmp_path: Path, seed: int):
    rng = random.Random(seed)
    with rounds.teacher_server("--latency", "0.05") as teacher:
        spec = rounds.spec_for(teacher, concurrency=CONCURRENCY)
        store, step = rounds.prepared(tmp_path / "killed", spec, MISTAKES)
        kills = 0
        for attempt in range(20):
            before = teacher.stats()["answered"]
            process = rounds.worker(tmp_path / "killed", step, f"pod-{attempt}", os.environ)
            if kills < 4:
                # The process takes a moment to start: count its time from its first request.
                while process.poll() is None and teacher.stats()["answered"] == before:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0.0, 0.4))
                process.send_signal(signal.SIGKILL)
                kills += 1
            if process.wait(60) == 0:
                break
        assert kills == 4
        assert teacher.stats()["repeated"] <= kills * CONCURRENCY
        assert len(rounds.rows(store, "ledger.jsonl")) == teacher.stats()["answeredDistinct"] >= ROWS
    assert rounds.output(store, "synthetic.jsonl") == unkilled(tmp_path / "whole")


def test_a_full_ledger_sends_nothing(tmp_path: Path):
    with rounds.teacher_server() as teacher:
        store, step = rounds.prepared(tmp_path, rounds.spec_for(teacher))
        generate.run(step, store, rounds.context_for("pod-a", tmp_path))
        synthetic, asked = rounds.output(store, "synthetic.jsonl"), teacher.stats()["requests"]
        store.delete("iterations/000/generate/manifest.json")
        generate.run(step, store, rounds.context_for("pod-b", tmp_path))
        assert teacher.stats()["requests"] == asked
    assert rounds.output(store, "synthetic.jsonl") == synthetic


def test_sigterm_lets_what_is_in_flight_finish_and_records_it(tmp_path: Path):
    with rounds.teacher_server("--latency", "0.2") as teacher:
        store, step = rounds.prepared(tmp_path, rounds.spec_for(teacher, concurrency=CONCURRENCY), MISTAKES)
        process = rounds.worker(tmp_path, step, "pod-a", os.environ)
        while teacher.stats()["answered"] < 6:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert rounds.worker(tmp_path, step, "pod-b", os.environ).wait(60) == 0
        assert teacher.stats()["repeated"] == 0
    assert len(rounds.rows(store, "synthetic.jsonl")) == ROWS


def test_of_two_pods_at_once_one_wins_and_both_report_it(tmp_path: Path):
    with rounds.teacher_server("--latency", "0.02") as teacher:
        store, step = rounds.prepared(tmp_path, rounds.spec_for(teacher, concurrency=CONCURRENCY))
        pods: list[subprocess.Popen[bytes]] = [
            rounds.worker(tmp_path, step, f"pod-{name}", os.environ) for name in ("a", "b")
        ]
        assert [pod.wait(60) for pod in pods] == [0, 0]
    assert len(rounds.rows(store, "synthetic.jsonl")) == 60
