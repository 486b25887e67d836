"""Answers joined with their rows: what is in a line, and where a line of the user's file is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.finished import HELD_OUT, SEEDS, finished_run

from llm2llm.data.sources import digest_of_content
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.results.predictions import prediction_rows
from llm2llm.results.targets import NamedRun


def rows_of(run: NamedRun, index: int | None = None, dataset: str | None = None) -> list[dict[str, Any]]:
    return list(prediction_rows(run, index, dataset, {}))


def test_each_answer_has_its_row_and_whether_it_is_right(tmp_path: Path):
    rows = rows_of(finished_run(tmp_path))
    assert [(row["set"], row["id"], row["verdict"]) for row in rows] == [
        ("seed", "s0", "correct"),
        ("seed", "s1", "wrong"),
        ("synthetic", "n0", "correct"),
        ("evaluation", "e0", "correct"),
        ("evaluation", "e1", "wrong"),
        ("test", "t0", "correct"),
    ]
    assert rows[4] == {
        "set": "evaluation", "id": "e1", "iteration": 1, "prompt": "q1", "label": "y", "answer": "z",
        "extracted": "z", "verdict": "wrong", "correct": False,
    }  # fmt: skip


def test_another_iteration_and_one_set_are_chosen(tmp_path: Path):
    run = finished_run(tmp_path)
    assert [(row["iteration"], row["id"]) for row in rows_of(run, 2, "synthetic")] == [(2, "n0"), (2, "n1")]
    assert {row["set"] for row in rows_of(run, 0)} == {"seed", "evaluation"}
    with pytest.raises(ConfigurationError, match="iteration 0 answered no test rows, only those of: seed, evaluation"):
        rows_of(run, 0, "test")


@pytest.mark.parametrize("held_out", [{"uri": "EVALUATION"}, {"fromSeed": {"count": 2}}], ids=["a file", "fromSeed"])
def test_a_row_has_its_line_if_the_user_s_file_is_the_one_that_was_read(tmp_path: Path, held_out: dict[str, Any]):
    def as_file(name: str, examples: list[Any]) -> Path:
        path = tmp_path / name
        lines = [{"id": row.id, "prompt": row.fields["prompt"], "completion": row.completion} for row in examples]
        path.write_text("\n" + "".join(json.dumps(line) + "\n" for line in lines))
        return path

    both = "uri" not in held_out
    seed = as_file("seed.jsonl", [*SEEDS, *(HELD_OUT if both else [])])
    evaluation = as_file("evaluation.jsonl", HELD_OUT)
    sources = {"seed": digest_of_content(seed.read_bytes()), "evaluation": digest_of_content(evaluation.read_bytes())}
    of_evaluation = held_out if both else {"uri": evaluation.as_uri()}
    data = {"seed": {"uri": seed.as_uri()}, "evaluation": of_evaluation}
    run = finished_run(tmp_path / "run", sources=sources, data=data)
    assert [row["line"] for row in rows_of(run, dataset="seed")] == [2, 3]
    assert [row["line"] for row in rows_of(run, dataset="evaluation")] == ([4, 5] if both else [2, 3])
    assert "line" not in rows_of(run, dataset="synthetic")[0]
    seed.write_text(seed.read_text() + "\n")
    assert all("line" not in row for row in rows_of(run, dataset="seed"))
    seed.unlink()
    assert all("line" not in row for row in rows_of(run, dataset="seed"))


def test_a_field_that_is_called_as_ours_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    named = [row.model_copy(update={"fields": {"prompt": "p", "label": "mine", "line": "7"}}) for row in SEEDS]
    monkeypatch.setattr("tests.support.finished.SEEDS", named)
    row = rows_of(finished_run(tmp_path), dataset="seed")[0]
    assert (row["field label"], row["field line"], row["label"], row["prompt"]) == ("mine", "7", "x", "p")
    assert "line" not in row


def test_rows_that_were_exchanged_are_not_joined(tmp_path: Path):
    run = finished_run(tmp_path)
    [frozen] = tmp_path.glob("inputs/data/*/evaluation.jsonl")
    frozen.write_bytes(frozen.read_bytes().replace(b"q1", b"q2"))
    with pytest.raises(IncompatibleArtifacts, match="is damaged"):
        rows_of(run)
