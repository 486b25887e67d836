"""Rows as a table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json

import pytest

from llm2llm.cli.output import TEXT_LIMIT, Format, print_rows

Output = pytest.CaptureFixture[str]
ROWS = [{"id": "a", "text": 'two\nlines, "quoted"'}, {"id": "b", "text": "\x1b[31mred", "note": "ünïcode"}]


def test_a_table_has_the_columns_in_their_order_and_steers_no_terminal(capsys: Output):
    print_rows(ROWS, Format.TABLE, "nothing")
    head, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head == ["id", "text", "note"]
    assert first == ["a", "two", "lines,", '"quoted"']
    assert second == ["b", "red", "ünïcode"]


def test_a_long_text_is_cut_in_a_table_alone(capsys: Output):
    rows = [{"text": "y" * 1000}]
    print_rows(rows, Format.TABLE, "nothing")
    assert capsys.readouterr().out.count("y") == TEXT_LIMIT
    print_rows(rows, Format.JSON, "nothing")
    assert json.loads(capsys.readouterr().out) == rows


def test_csv_is_read_back_as_it_was(capsys: Output):
    print_rows(ROWS, Format.CSV, "nothing")
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert read == [{**ROWS[0], "note": ""}, ROWS[1]]


def test_a_spreadsheet_computes_no_text_of_others(capsys: Output):
    texts = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(1)", "\tx", "\rx", "a=b", "", "1"]
    print_rows([{"=text": text, "number": -3} for text in texts], Format.CSV, "nothing")
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [row["'=text"] for row in read] == [f"'{text}" for text in texts[:6]] + texts[6:]
    assert {row["number"] for row in read} == {"-3"}


def test_csv_without_rows_has_a_header_all_the_same(capsys: Output):
    print_rows([], Format.CSV, "No mistakes.", ["set", "id"])
    assert capsys.readouterr().out == "set,id\n"


def test_where_there_is_nothing_a_person_is_told_and_a_program_gets_no_rows(capsys: Output):
    print_rows([], Format.TABLE, "No mistakes.")
    print_rows([], Format.JSON, "No mistakes.")
    assert capsys.readouterr().out == "No mistakes.\n[]\n"
