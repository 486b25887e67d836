"""Only new rows are tokenized: what one step has tokenized, no later step of the run does again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.integration.data_plane.bench import Bench
from tests.support import keyword

from llm2llm.artifacts.commit import commit
from llm2llm.records import Example, Report, Stage, to_jsonl
from llm2llm.step import run_step
from llm2llm.storage import LocalStore


@pytest.fixture
def bench(tmp_path: Path, student: Path) -> Bench:
    return Bench(tmp_path, student)


class Counting:
    """A run whose steps tell how many rows they tokenized."""

    def __init__(self, bench: Bench, name: str = "run") -> None:
        self.bench = bench
        self.run, self.store = bench.run(name)

    def step(self, stage: Stage, iteration: int = 0) -> tuple[object, object]:
        """Runs a step; returns how many rows it tokenized, and how many of its rows were tokenized before."""
        told: list[Mapping[str, object]] = []
        context = self.bench.context(f"{stage.value}-{iteration}")
        context.progress = told.append
        self.run.add(run_step(self.run.step(stage, iteration), self.store, context))
        (counts,) = [
            (event["rowsTokenized"], event["rowsTokenizedBefore"]) for event in told if "rowsTokenized" in event
        ]
        return counts

    def write(self, rows: list[dict[str, str]]) -> None:
        """Commits what a teacher would have written."""
        examples = [
            Example(id=f"new-{n}", fields={"text": row["text"]}, completion=row["label"]) for n, row in enumerate(rows)
        ]
        files = {"synthetic.jsonl": to_jsonl(examples)}
        told = Report(run_uid=self.run.uid, stage=Stage.GENERATE, kept=len(rows))
        self.run.add(commit(self.store, self.run.step(Stage.GENERATE), self.bench.context(), files, told))

    def cached(self) -> list[str]:
        return list(self.store.list("cache/tokens/"))


def test_a_later_iteration_tokenizes_what_was_written_since(bench: Bench) -> None:
    run = Counting(bench)

    assert run.step(Stage.TRAIN) == (40, 0)
    assert run.step(Stage.EVALUATE) == (20, 40)
    run.write(keyword.rows(1, 9))
    assert run.step(Stage.TRAIN, 1) == (20, 40)
    assert run.step(Stage.EVALUATE, 1) == (0, 60)
    assert len(run.cached()) == 3


def test_rows_from_the_cache_train_to_the_same_weights(bench: Bench) -> None:
    first, second = Counting(bench, "first"), Counting(bench, "second")
    assert first.step(Stage.TRAIN) == (40, 0)
    for key in first.cached():
        second.store.write(key, first.store.read(key))

    assert second.step(Stage.TRAIN) == (0, 40)
    assert keyword.adapter_bytes(second.store) == keyword.adapter_bytes(first.store)


def test_a_damaged_cache_costs_time_and_nothing_else(bench: Bench) -> None:
    run = Counting(bench)
    run.step(Stage.TRAIN)
    (key,) = run.cached()
    data = run.store.read(key)
    run.store.write(key, data[:-1])
    run.store.write(f"{key}.tmp", data)

    assert run.step(Stage.EVALUATE) == (60, 0)


def test_another_chat_template_or_revision_has_a_cache_of_its_own(bench: Bench, tmp_path: Path) -> None:
    run = Counting(bench)
    run.step(Stage.TRAIN)
    other = Counting(bench, "other")
    for key in run.cached():
        other.store.write(key, run.store.read(key))
    other.run.document["task"] = {**other.run.document["task"], "chatTemplate": "Never"}
    prepared = LocalStore(tmp_path / "never")
    other.run.reports.clear()
    other.run.add(run_step(other.run.step(Stage.PREPARE), prepared, bench.context()))
    for key in run.cached():
        prepared.write(key, run.store.read(key))
    other.store = prepared

    assert other.step(Stage.TRAIN) == (40, 0)
