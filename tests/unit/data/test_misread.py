"""What a file is that holds no rows of its format: told by what people use instead."""

from __future__ import annotations

import pytest

from llm2llm.data.misread import foreign_format, json_in_a_table, missing_columns, other_separator

NEEDED = ("text", "label")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"PK\x03\x04......xl/workbook.xml", "is an Excel workbook"),
        (b"PK\x03\x04...[Content_Types].xml", "is an Excel workbook"),
        (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "is a LibreOffice spreadsheet"),
        (b"PK\x03\x04rows.csv", "is compressed with zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an Excel workbook"),
        ("a,b".encode("utf-16"), "is in UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"\n<!doctype HTML>", "is a web page"),
        (b"<html lang=en>", "is a web page"),
        (b"%PDF-1.7", "is a PDF"),
        (b"text,label\nPK,a\n", ""),
        (b"", ""),
        (b"<b>bold</b>,label\n", ""),
    ],
)
def test_a_file_of_another_kind(data: bytes, told: str):
    assert foreign_format(data)[: len(told) or None] == told


@pytest.mark.parametrize(
    ("header", "separator", "told"),
    [
        ("text,label", ",", ""),
        ("text;label", ",", "is separated by semicolons instead of commas"),
        ('"text";"label";"a, b"', ",", "is separated by semicolons instead of commas"),
        ("a;b", ",", "is separated by semicolons instead of commas"),
        ("text\tlabel", ",", "is separated by tabs instead of commas, as the name of the file says: rename it to .tsv"),
        ("text,label", "\t", "is separated by commas instead of tabs, as the name of the file says: rename it to .csv"),
        ("text;label", "\t", "is separated by semicolons instead of tabs"),
        ("sep=;", ",", "begins with the line 'sep=;'"),
        ("other,label", ",", ""),
        ("a;b,text,label", ",", ""),
        ("text", ",", ""),
    ],
)
def test_another_separator(header: str, separator: str, told: str):
    assert other_separator(header, separator, NEEDED)[: len(told) or None] == told


def test_json_by_the_name_of_a_table():
    assert json_in_a_table('[{"text": "a"}]')
    assert json_in_a_table('{ "text": "a"}\n')
    assert json_in_a_table("{text},label\n") == ""


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (["label", "text", "x"], ""),
        (["Text", "label"], "no column 'text': did you mean 'Text'? (the columns are 'Text', 'label')"),
        (["7", "x"], "no column 'text'; no column 'label' (the columns are '7', 'x'). The first line must name the columns"),
        ([f"c{number}" for number in range(9)] + ["label"],
         "no column 'text' (the columns are 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', ...)"),
    ],
)  # fmt: skip
def test_missing_columns(header: list[str], told: str):
    assert missing_columns(header, NEEDED) == told
