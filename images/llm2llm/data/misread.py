"""PURE: says what a file is that holds no rows in its format, and what to do about it.

Most of what cannot be read is a workbook, a page, or a table with another separator: nobody finds that out from the
number of cells in line 2.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from llm2llm.data.cells import read_cells
from llm2llm.suggestion import closest, did_you_mean

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_WORKBOOK = "save it there as CSV (UTF-8, separated by commas) and use that file"
_DECOMPRESS = "is compressed with {}: decompress it and use the resulting file"
_ZIP = b"PK\x03\x04"
_NAMES_IN = 4096
"""First bytes of an archive in which a spreadsheet names what it is."""
_BEGINNINGS = {
    b"\xd0\xcf\x11\xe0": f"is an Excel workbook: {_WORKBOOK}",
    b"\x1f\x8b\x08": _DECOMPRESS.format("gzip"),
    b"BZh91AY&SY": _DECOMPRESS.format("bzip2"),
    b"\xfd7zXZ\0": _DECOMPRESS.format("xz"),
    b"\x28\xb5\x2f\xfd": _DECOMPRESS.format("zstd"),
    _ZIP: _DECOMPRESS.format("zip"),
    b"\xff\xfe": "is in UTF-16: save it as UTF-8",
    b"\xfe\xff": "is in UTF-16: save it as UTF-8",
    b"version https://git-lfs": "is a Git LFS pointer and not the rows: fetch them with `git lfs pull`",
    b"%PDF-": "is a PDF: rows are read from CSV, TSV, JSON Lines and Parquet",
}
"""First bytes of a file to what it is and what to do; no text and no Parquet begins like this."""
_SHOWN = 8
_NAME_LENGTH = 40


def foreign_format(data: bytes) -> str:
    """Returns what a file is that is in none of the formats of rows, and what to do; '' if it may be in one."""
    if data.startswith(_ZIP) and (b"xl/" in data or b"[Content_Types].xml" in data[:_NAMES_IN]):
        return f"is an Excel workbook: {_WORKBOOK}"
    if data.startswith(_ZIP) and b"opendocument.spreadsheet" in data[:_NAMES_IN]:
        return f"is a LibreOffice spreadsheet: {_WORKBOOK}"
    if re.match(rb"\s*<(!doctype html|html)", data, re.IGNORECASE):
        return (
            "is a web page: download the file itself (on GitHub and the Hugging Face Hub by its raw or download link)"
        )
    return next((told for magic, told in _BEGINNINGS.items() if data.startswith(magic)), "")


def json_in_a_table(text: str) -> str:
    """Returns what a table is that is JSON, and what to do; '' if it is none."""
    if re.match(r'\s*(\[\s*)?\{\s*"', text) is None:
        return ""
    return "holds JSON, unlike its name says: rename it to .jsonl, with one object on each line"


def other_separator(header: str, separator: str, required: Collection[str]) -> str:
    """Returns by what the cells of a header are separated, and what to do; '' if it is not by another separator.

    Args:
        header: the first line of a file.
        separator: that of the file's format.
        required: the columns that are needed.
    """
    told = re.fullmatch(r"sep=(.)\s*", header)
    if told:
        return f"begins with the line {header.strip()!r}, which only Excel reads: remove it, and separate by commas"
    cells = _split(header, separator)
    if set(required) <= set(cells):
        return ""
    for other, name in _NAMES.items():
        names = _split(header, other)
        if other == separator or len(names) <= len(cells) or not (len(cells) == 1 or set(required) <= set(names)):
            continue
        advice = "rename it to .tsv" if other == "\t" else f"save it separated by {_NAMES[separator]}"
        if other == "," and separator == "\t":
            advice = "rename it to .csv"
        return f"is separated by {name} instead of {_NAMES[separator]}, as the name of the file says: {advice}"
    return ""


def missing_columns(header: Sequence[str], required: Collection[str]) -> str:
    """Returns which of the required columns a file has not, and which it has; '' if it has all."""
    missing = [column for column in dict.fromkeys(required) if column not in header]
    if not missing:
        return ""
    parts = "; ".join(f"no column {column!r}{did_you_mean(column, header)}" for column in missing)
    names = ", ".join(repr(name[:_NAME_LENGTH]) for name in header[:_SHOWN]) + (", ..." if header[_SHOWN:] else "")
    no_header = "" if any(closest(column, header) for column in required) else ". The first line must name the columns"
    return f"{parts} (the columns are {names}){no_header}"


def _split(line: str, separator: str) -> list[str]:
    return next(read_cells([line], separator), [])
