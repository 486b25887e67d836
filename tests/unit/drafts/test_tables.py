"""The files that people have."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from llm2llm.drafts.tables import as_csv, read_table, write_new
from llm2llm.errors import DataError

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
        pytest.param(
            "a.csv",
            table(";", "cp1252"),
            ["is taken for Windows-1252 instead of UTF-8 (is 'über' as it should be?)", "semicolons instead of commas"],
            id="from Excel",
        ),
        pytest.param("a.csv", table(",", "utf-8").replace(b"nein\n", b"nein\r"), [], id="another end of a line"),
        pytest.param(
            "a.csv",
            b"sep=;\r" + table(";", "utf-8").replace(b"label\n", b"label\r").replace(b"ja\n", b"ja\r"),
            ["begins with 'sep=;'", "semicolons"],
            id="sep= for Macintosh",
        ),
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
        pytest.param(b'{"a": 1}\n{"a"\n', "is not valid JSON", id="broken JSON"),
        pytest.param(b"[1, 2]", "needs an object for each row", id="JSON of numbers"),
        pytest.param(
            "a,b\nä,1\nö,2\nü,3\n".encode() + b"\xe4,4\n",
            "is in UTF-8, but for line 5: correct",
            id="one line in Latin-1",
        ),
        pytest.param("a,b\rä,1\rö,2\r".encode() + b"\xe4,4\r", "is in UTF-8, but for line 4", id="for Macintosh"),
        pytest.param(b"\xef\xbb\xbfa,b\n\xe4,1\n", "is in UTF-8, but for line 2", id="with the mark of UTF-8"),
        pytest.param("a,b\n北,1\n".encode("utf-16-le"), "is in UTF-16 without the mark", id="UTF-16 without a mark"),
        pytest.param("a,b\nab,1\n".encode("utf-16-be"), "is in UTF-16 without the mark", id="the other UTF-16"),
        pytest.param("a,b\n北,1\n".encode("utf-16")[:-1], "is in none of UTF-8, UTF-16", id="UTF-16 that is cut"),
        pytest.param("a,b\n丂,1\n".encode("gbk"), "is in none of UTF-8, UTF-16 and Windows-1252", id="GBK"),
        pytest.param(b'a,b\n"' + b"y" * 17_000_000, "a quote that opens a cell has to close", id="a cell without end"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, data: bytes, words: str):
    (tmp_path / "rows.csv").write_bytes(data)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / "rows.csv")


def test_values_of_json_become_texts(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"a": null, "b": 1.5, "c": true, "d": ["x"]}')
    assert list(read_table(tmp_path / "rows.jsonl").rows) == [{"a": "", "b": "1.5", "c": "true", "d": '["x"]'}]


def test_a_guess_of_the_encoding_shows_a_word(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("text,label\n北京 天气,a\n".encode("gbk"))
    [differs] = read_table(tmp_path / "a.csv").differs
    assert differs.startswith("is taken for Windows-1252 instead of UTF-8 (is '±±¾©' as it should be?)")


def test_long_cells_and_odd_line_ends_of_json_are_read(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "one\u2028line\x85", "b": "c"}, ensure_ascii=False))
    assert list(read_table(tmp_path / "a.jsonl").rows) == [{"text": "one\u2028line\x85", "b": "c"}]
    csv.field_size_limit(131_072)  # as in a new process
    (tmp_path / "a.csv").write_text("text,b\n" + "y" * 200_000 + ",c\n")
    assert len(read_table(tmp_path / "a.csv").rows[0]["text"]) == 200_000


def test_where_pandas_wrote_nan_nothing_is(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": NaN}')
    assert list(read_table(tmp_path / "a.jsonl").rows) == [{"text": "a", "label": ""}]


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="No such file or directory: name a file with a table"):
        read_table(tmp_path / "none.csv")


def test_a_table_is_written_to_a_new_file_and_read_back(tmp_path: Path):
    path = tmp_path / "rows.csv"
    write_new(as_csv(ROWS), path)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == ROWS
    assert read_table(path).differs == ()
    with pytest.raises(DataError, match="exists: delete it"):
        write_new(as_csv(ROWS), path)
    with pytest.raises(DataError, match="No such file or directory"):
        write_new(b"", tmp_path / "none" / "rows.csv")


def test_half_of_a_character_cannot_be_written():
    with pytest.raises(DataError, match="half of a surrogate pair, which is no character"):
        as_csv([{"text": "a \ud800 b"}])
