"""The files that people have."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from llm2llm.errors import DataError
from llm2llm.local.tables import read_table, write_table

ROWS = [{"text": 'über "alles", und mehr', "label": "ja"}, {"text": "zwei\nZeilen; drei", "label": "nein"}]


def table(separator: str, encoding: str, header: str = "text{}label\n") -> bytes:
    cells = "".join(f'"{row["text"].replace(chr(34), chr(34) * 2)}"{separator}{row["label"]}\n' for row in ROWS)
    return (header.format(separator) + cells).encode(encoding)


@pytest.mark.parametrize(
    ("name", "data", "differs"),
    [
        pytest.param("a.csv", table(",", "utf-8"), [], id="as a run takes it"),
        pytest.param("a.csv", table(",", "utf-8-sig"), [], id="with a mark of its encoding"),
        pytest.param("a.tsv", table("\t", "utf-8"), [], id="tabs in a .tsv"),
        pytest.param("a.csv", table(";", "cp1252"), ["Windows-1252", "semicolons instead of commas"], id="from Excel"),
        pytest.param(
            "a.csv", table("\t", "utf-16"), ["UTF-16", "tabs instead of commas"], id="Unicode text from Excel"
        ),
        pytest.param("a.csv", table("|", "utf-8"), ["vertical bars"], id="bars"),
        pytest.param("a.csv", b"sep=;\n" + table(";", "utf-8"), ["begins with 'sep=;'", "semicolons"], id="sep="),
        pytest.param(
            "a.csv", table(",", "utf-8", " text {} label\n"), ["has blanks around"], id="blanks in the header"
        ),
        pytest.param("a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS).encode(), [], id="JSON Lines"),
        pytest.param("a.json", json.dumps(ROWS).encode(), ["one JSON array"], id="a JSON array"),
    ],
)
def test_a_table_is_read_whatever_it_is_separated_by_and_encoded_in(
    tmp_path: Path, name: str, data: bytes, differs: list[str]
):
    (tmp_path / name).write_bytes(data)
    read = read_table(tmp_path / name)
    assert list(read.rows) == ROWS
    assert len(read.differs) == len(differs)
    assert all(word in told for word, told in zip(differs, read.differs, strict=True))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"PK\x03\x04xl/", "is a workbook: save it as CSV", id="xlsx"),
        pytest.param(b"PAR1", "is Parquet: save it as CSV", id="Parquet"),
        pytest.param(b"a,b\n1,2\n1,2,3\n", "row 3 has 3 cells, and the first line names 2 columns", id="one cell more"),
        pytest.param(b"a,a\n1,2\n", "need names that differ: 'a', 'a'", id="a doubled column"),
        pytest.param(b"a,,b\n1,2,3\n", "need names that differ", id="a column without a name"),
        pytest.param(b'{"a": 1}\n{"a"\n', "is no JSON", id="broken JSON"),
        pytest.param(b"[1, 2]", "needs an object for each row", id="JSON of numbers"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, data: bytes, words: str):
    (tmp_path / "rows.csv").write_bytes(data)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / "rows.csv")


def test_values_of_json_become_texts(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"a": null, "b": 1.5, "c": true, "d": ["x"]}')
    assert list(read_table(tmp_path / "rows.jsonl").rows) == [{"a": "", "b": "1.5", "c": "true", "d": '["x"]'}]


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="No such file or directory: name a file with a table"):
        read_table(tmp_path / "none.csv")


def test_a_table_is_written_to_a_new_file_and_read_back(tmp_path: Path):
    path = tmp_path / "rows.csv"
    write_table(ROWS, path)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == ROWS
    assert read_table(path).differs == ()
    with pytest.raises(DataError, match="exists: delete it"):
        write_table(ROWS, path)
