"""CSV and Parquet, row by row as JSON lines are."""

from __future__ import annotations

import csv
import gzip
import io
import re
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from llm2llm.data.intake import SourceRows, read_rows
from llm2llm.errors import DataError

MAPPING = {"prompt": "question", "completion": "answer"}


def rows_of(name: str, data: bytes) -> SourceRows:
    return read_rows(f"s3://b/{name}", data, MAPPING)


def texts(rows: SourceRows) -> list[tuple[int, str, str]]:
    return [(row.line, row.example.fields["prompt"], row.example.completion) for row in rows.rows]


def as_parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("x.csv", b"question,answer\nq1,a1\nq2,a2\n", id="CSV"),
        pytest.param("x.CSV", b"\xef\xbb\xbfanswer,question\r\na1,q1\r\na2,q2", id="Windows's CSV, other order"),
        pytest.param("x.csv", b"question,answer\rq1,a1\rq2,a2\r", id="Excel's CSV for Macintosh"),
        pytest.param("x.tsv", b"question\tanswer\rq1\ta1\rq2\ta2\r", id="TSV for Macintosh"),
        pytest.param("x.tsv", b"question\tanswer\nq1\ta1\nq2\ta2\n", id="TSV"),
        pytest.param(
            "x.parquet", as_parquet({"question": ["q1", "q2"], "answer": ["a1", "a2"], "n": [1, 2]}), id="Parquet"
        ),
        pytest.param("x.jsonl", b'{"question":"q1","answer":"a1"}\n{"question":"q2","answer":"a2"}', id="JSON lines"),
    ],
)
def test_the_end_of_the_name_tells_the_format(name: str, data: bytes):
    assert [row[1:] for row in texts(rows_of(name, data))] == [("q1", "a1"), ("q2", "a2")]


def test_a_quoted_cell_may_hold_separators_quotes_and_lines():
    found = rows_of("x.csv", b'question,answer\n"a, ""b""\nc",d\n\ne,f\n')
    assert texts(found) == [(2, 'a, "b"\nc', "d"), (5, "e", "f")]


def test_fault_33_a_row_of_csv_with_another_number_of_cells_is_refused_with_its_line():
    found = rows_of("x.csv", b"question,answer\nq,a\nq\nq,a,b\nq,a\n")
    assert [row.line for row in found.rows] == [2, 5]
    problem = found.problem("data.seed")
    assert "line 3: 1 cell, but the header has 2" in problem
    assert "line 4: 3 cells" in problem


def test_fault_33_a_stray_quote_in_a_tsv_takes_no_other_row_along():
    found = rows_of("x.tsv", b'question\tanswer\n"a fine film\tgood\na dull one "\tbad\n"a ""quote"""\tgood\n')
    assert texts(found) == [(4, 'a "quote"', "good")]
    assert "line 2: a quote that opens here closes in line 3" in found.problem("data.seed")


def test_fault_33_a_row_of_parquet_without_text_is_refused_with_its_number():
    found = rows_of("x.parquet", as_parquet({"question": ["q", None, "q"], "answer": [["x"], ["y"], ["z"]]}))
    assert not found.rows
    assert "line 2: field 'question' is neither a string nor a number" in found.problem("data.seed")
    assert "lines 1, 3: field 'answer' is neither a string nor a number" in found.problem("data.seed")


def test_numbers_of_parquet_are_their_text():
    found = rows_of("x.parquet", as_parquet({"question": ["q", "r"], "answer": [1, 0]}))
    assert texts(found) == [(1, "q", "1"), (2, "r", "0")]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_fractions_of_parquet_are_the_shortest_text_of_their_type(kind: pa.DataType):
    numbers = pa.array([1.1, 0.1, 1e-7, -2.5, 100.0, 3e38], kind)
    found = rows_of("x.parquet", as_parquet({"question": ["q"] * 6, "answer": numbers}))
    assert [row[2] for row in texts(found)] == ["1.1", "0.1", "1e-07", "-2.5", "100.0", "3e+38"]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_fault_33_what_is_no_number_in_parquet_is_refused_with_its_row(kind: pa.DataType):
    numbers = pa.array([1.0, float("nan"), float("inf"), float("-inf"), None], kind)
    found = rows_of("x.parquet", as_parquet({"question": ["q"] * 5, "answer": numbers}))
    assert [row.line for row in found.rows] == [1]
    problem = found.problem("data.seed")
    assert "line 2: field 'answer' is nan: use a finite number" in problem
    assert "line 3: field 'answer' is inf" in problem
    assert "line 4: field 'answer' is -inf" in problem
    assert "line 5: field 'answer' is neither a string nor a number" in problem


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("x.parquet", b"PAR1 and nonsense PAR1", "not a valid Parquet file", id="no Parquet"),
        pytest.param("x.parquet", b"", "not a valid Parquet file", id="an empty Parquet"),
        pytest.param(
            "x.parquet",
            as_parquet({"question": ["q"] * 9, "answer": ["a"] * 9})[:-20],
            "not a valid Parquet file",
            id="cut",
        ),
        pytest.param("x.csv", b"question,answer\nq,a\nq,\xff\n", "invalid UTF-8 in line 3", id="Latin-1"),
        pytest.param(
            "x.csv",
            b"question,answer\n" + b"q,a\nq,\xff\n" * 12,
            "invalid UTF-8 in lines 3, 5, .*, 21 and 2 more",
            id="12 lines",
        ),
        pytest.param("x.csv", b"answer,answer\nq,a\n", "two columns have the same name", id="a column twice"),
        pytest.param(
            "x.json",
            b'[{"question": "q", "answer": "a"}]\n',
            "is a single JSON document, but JSON Lines is",
            id="an array",
        ),
        pytest.param(
            "x.json", b'[\n {"question": "q",\n  "answer": "a"}\n]', "is a single JSON document", id="over lines"
        ),
        pytest.param("x.json", b'\n{\n "rows": []\n}', "is a single JSON document", id="an object over lines"),
        pytest.param("x.jsonl.gz", gzip.compress(b"{}"), "is compressed with gzip: decompress it", id="gzip"),
        pytest.param("x.csv", gzip.compress(b"question,answer"), "is compressed with gzip", id="gzip by another name"),
        pytest.param("x.zst", b"\x28\xb5\x2f\xfd\x04", "is compressed with zstd", id="zstd"),
        pytest.param(
            "x.csv",
            b'question,answer\nq,a\nq,"a\nq,a\n',
            "invalid CSV in the record .* line 3",
            id="a quote that is not closed",
        ),
        pytest.param("x.csv", b"question;answer\rq;a\r", "is separated by semicolons", id="semicolons for Macintosh"),
        pytest.param("x.csv", b"question,answer\rq,a\rq,\xff\r", "invalid UTF-8 in line 3", id="Latin-1 for Macintosh"),
        pytest.param("x.csv", b"y" * 17_000_000, "invalid CSV in the record .* line 1", id="a first line without end"),
        pytest.param("x.csv", b'"a' * 100_000, "invalid CSV in the record", id="a long first line with quotes"),
    ],
)
def test_fault_48_a_file_that_cannot_be_read_is_named(name: str, data: bytes, words: str):
    with pytest.raises(DataError, match=f"s3://b/{name}: {words}"):
        rows_of(name, data)


def test_fault_48_text_in_parquet_that_is_no_utf_8_is_refused():
    column = pa.array([b"q", b"\xff"], pa.binary()).view(pa.binary()).cast(pa.string(), safe=False)
    with pytest.raises(DataError, match="rows 1 to 2 cannot be read"):
        rows_of("x.parquet", as_parquet({"question": column, "answer": ["a", "b"]}))


@pytest.mark.parametrize(
    ("data", "broken"),
    [
        pytest.param(b'["q", "a"]\n{"question": "q", "answer": "a"}', [1], id="a list in the first line"),
        pytest.param(b'{"question": "q", "answer": "a"}', [], id="one object alone"),
        pytest.param(b'{"question": "q"\n{"question": "q", "answer": "a"}', [1], id="a first line that is cut"),
        pytest.param(b'[{"question": "q"},\n{"question"', [1, 2], id="an array that is cut"),
    ],
)
def test_a_broken_first_line_makes_no_document(data: bytes, broken: list[int]):
    assert sorted(rows_of("x.json", data).broken) == broken


def test_a_long_cell_is_no_problem():
    found = rows_of("x.csv", b"question,answer\n" + b"x" * 1_000_000 + b",a\n")
    assert len(found.rows[0].example.fields["prompt"]) == 1_000_000


def test_a_long_name_of_a_column_is_no_problem():
    csv.field_size_limit(131_072)  # as in a new process
    found = rows_of("x.csv", b"question,answer," + b"x" * 200_000 + b"\nq,a,b\n")
    assert texts(found) == [(2, "q", "a")]


def test_a_column_of_parquet_that_is_not_mapped_is_not_read():
    times = pa.array([1, 2**62, -(2**62)], pa.timestamp("ns"))  # which needs pandas, or lies beyond the calendar
    broken = pa.array([b"\xff", b"\xfe", b"\xfd"]).view(pa.binary()).cast(pa.string(), safe=False)
    columns = {"question": ["q1", "q2", "q3"], "answer": ["a1", "a2", "a3"], "asked": times, "raw": broken}
    found = rows_of("x.parquet", as_parquet(columns))
    assert found.broken == {}
    assert [row.example.completion for row in found.rows] == ["a1", "a2", "a3"]


def test_the_columns_of_parquet_are_told_where_one_is_missing():
    told = re.escape("s3://b/x.parquet: no column 'question' (the columns are 'frage', 'answer', 'asked')")
    with pytest.raises(DataError, match=told):
        rows_of("x.parquet", as_parquet({"frage": ["q1"], "answer": ["a1"], "asked": [1]}))
