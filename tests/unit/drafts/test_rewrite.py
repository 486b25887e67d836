"""Which file a run takes the rows from: whatever `llm2llm init` names, the run reads."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.data.intake import read_rows
from llm2llm.drafts.draft import Choices, guess, write_manifest
from llm2llm.drafts.rewrite import Settled, settle_rows
from llm2llm.drafts.tables import read_table
from llm2llm.errors import DataError
from llm2llm.manifests.kubectlyaml import load

ROWS = [{"text": f"please help me with order number {n}", "label": "ab"[n % 2]} for n in range(20)]


def separated(separator: str = ",", rows: list[dict[str, str]] = ROWS, end: str = "\n") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def settled(folder: Path, name: str, data: bytes, answer: str = "", prompt: tuple[str, ...] = ()) -> Settled:
    """What `init` settles on for a file; checks that a run reads from it what it is told to."""
    path = folder / name
    path.write_bytes(data)
    table = read_table(path)
    choices = Choices("run", path.as_uri(), "hf://a/b", "t", "http://t/v1")
    manifest = load(write_manifest(guess(table.rows, answer, prompt), choices))
    spec = AugmentationRunSpec.model_validate(manifest["spec"])
    found = settle_rows(path, table, folder / "new.rows.csv", spec)
    if not found.problems:
        rows = read_rows(found.path.as_uri(), found.path.read_bytes(), spec.data.seed.fields)
        assert (len(rows.rows), rows.broken) == (len(table.rows), {})
    assert (folder / "new.rows.csv").exists() == (found.path.name == "new.rows.csv") == bool(found.differs)
    return found


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("a.csv", separated(), id="CSV"),
        pytest.param("a.csv", separated(end="\r"), id="CSV for Macintosh"),
        pytest.param("a.TSV", separated("\t"), id="TSV"),
        pytest.param("a.jsonl", lines(ROWS), id="JSON Lines"),
        pytest.param("a.data", lines(ROWS), id="JSON Lines of any name"),
        pytest.param("a.csv", separated(rows=[*ROWS[:-1], {"text": "many", "label": "a"}]) + b"\n\n", id="empty lines"),
    ],
)
def test_a_file_that_a_run_takes_stays_as_it_is(tmp_path: Path, name: str, data: bytes):
    assert settled(tmp_path, name, data) == Settled(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("a.txt", separated(), "has 21 broken rows: lines 1, 2, ", id="a table of another name"),
        pytest.param("a.csv", lines(ROWS), "cannot be read by a run (holds JSON, unlike", id="JSON called CSV"),
        pytest.param("a.csv", separated() + b",\n,\n", "has 2 broken rows: lines 22, 23: the prompt is", id="Excel's tail"),
        pytest.param(
            "a.tsv", separated("\t", [*ROWS, {"text": "two\nlines of text", "label": "a"}]), "a quote that opens here",
            id="TSV with an end of a line in quotes",
        ),
        pytest.param(
            "a.csv", separated() + b'"say" a word to me,b\n', "cannot be read by a run (invalid CSV", id="a stray quote"
        ),
        pytest.param("a.csv", separated(";"), "is separated by semicolons", id="what the table knows itself"),
        pytest.param(
            "a.jsonl",
            lines([{"messages": [{"role": "user", "content": f"help with {n}"}], "label": "ab"[n % 2]} for n in range(20)]),
            "field 'messages' is neither a string nor a number",
            id="a list of messages",
        ),
    ],
)  # fmt: skip
def test_a_file_that_a_run_refuses_is_rewritten(tmp_path: Path, name: str, data: bytes, words: str):
    found = settled(tmp_path, name, data)
    assert found.path.name == "new.rows.csv"
    assert any(words in difference for difference in found.differs), found.differs
    assert found.problems == ()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("a.csv", separated() + b"text of a row\0,a\n", "line 22: field 'text' contains a NUL", id="NUL"),
        pytest.param("a.csv", separated() + b"text of a row, \n", "line 22: the completion is empty", id="no answer"),
        pytest.param("a.jsonl", lines([*ROWS, {"text": "a \ud800", "label": "a"}]), "surrogate pair", id="half a pair"),
        pytest.param(
            "a.jsonl",
            lines([*ROWS, {"text": "a text", "label": float("nan")}]),
            "line 21: field 'label' is nan",
            id="NaN",
        ),
    ],
)
def test_rows_that_stay_broken_are_told(tmp_path: Path, name: str, data: bytes, words: str):
    found = settled(tmp_path, name, data)
    assert found.path.name == name
    assert words in found.problems[0]


def test_a_table_that_has_to_be_rewritten_and_cannot_be_is_refused(tmp_path: Path):
    array = json.dumps([*ROWS, {"text": "a \ud800", "label": "a"}]).encode()
    with pytest.raises(DataError, match=r"a\.json: the text after .* is half of a surrogate pair"):
        settled(tmp_path, "a.json", array)


def test_what_stays_broken_in_the_new_file_is_told_with_its_line(tmp_path: Path):
    found = settled(tmp_path, "a.csv", separated(";") + b"text of a row;\n")
    assert found.problems == ("has 1 broken row: line 22: the completion is empty",)
