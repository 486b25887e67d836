"""Reads the file that a person has: in the encoding and with the separator that it happens to have.

A run takes CSV in UTF-8 with commas alone, so that equal files mean equal rows everywhere; `llm2llm init` is where
other files become such a one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llm2llm.errors import DataError

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_LINES = ".jsonl", ".ndjson", ".json"
_SIZE_LIMIT = 1 << 30


@dataclass(frozen=True)
class Table:
    """The rows of a file as texts, and how it has to be rewritten for a run.

    Attributes:
        rows: column to text.
        differs: in what it is not as a run takes it, in words; empty if it is.
    """

    rows: Sequence[dict[str, str]]
    differs: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Reads a table in CSV, TSV or JSON Lines.

    Raises:
        DataError: it cannot be read, or is in another format.
    """
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise DataError(f"{path}: is larger than 1 GiB: take a part of it")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: name a file with a table of examples") from error
    if data[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1"):
        what = "Parquet" if data.startswith(b"PAR1") else "a workbook"
        raise DataError(f"{path}: is {what}: save it as CSV (UTF-8) and name that file")
    text, encoding = _decode(data)
    differs = () if encoding == "UTF-8" else (f"is in {encoding} instead of UTF-8",)
    if path.suffix.lower() in _LINES or text.lstrip().startswith(("{", "[")):
        return _read_objects(path, text, differs)
    return _read_cells(path, text, differs)


def _decode(data: bytes) -> tuple[str, str]:
    """Returns the text and the name of its encoding; Windows' own takes whatever UTF-8 does not."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace"), "UTF-16"
    try:
        return data.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "Windows-1252"


def _read_objects(path: Path, text: str, differs: tuple[str, ...]) -> Table:
    if text.lstrip().startswith("["):
        differs = (*differs, "is one JSON array instead of an object on each line")
    try:
        whole = json.loads(text) if text.lstrip().startswith("[") else [
            json.loads(line) for line in text.splitlines() if line.strip()
        ]  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON: {error}") from error
    if not whole or not all(isinstance(row, dict) for row in whole):
        raise DataError(f"{path}: needs an object for each row")
    return Table([{str(name): _text(value) for name, value in row.items()} for row in whole], differs)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_cells(path: Path, text: str, differs: tuple[str, ...]) -> Table:
    if text.lower().startswith("sep="):
        first, _, text = text.partition("\n")
        differs = (*differs, f"begins with {first.strip()!r}")
    separator = _separator(text)
    expected = "\t" if path.suffix.lower() == ".tsv" else ","
    if separator != expected:
        differs = (*differs, f"is separated by {_SEPARATORS[separator]} instead of {_SEPARATORS[expected]}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header, *rows = [row for row in reader if any(cell.strip() for cell in row)] or [[]]
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from error
    names = [name.strip() for name in header]
    if len(set(names)) < len(names) or "" in names:
        raise DataError(f"{path}: the columns of its first line need names that differ: {', '.join(map(repr, names))}")
    if any(name != cell for name, cell in zip(names, header, strict=True)):
        differs = (*differs, "has blanks around the names of its columns")
    wrong = next((number for number, row in enumerate(rows, 2) if len(row) != len(names)), 0)
    if wrong:
        found = len(rows[wrong - 2])
        raise DataError(f"{path}: row {wrong} has {found} cells, and the first line names {len(names)} columns")
    return Table([dict(zip(names, row, strict=True)) for row in rows], differs)


def _separator(text: str) -> str:
    """Returns the separator by which the first rows have the most cells, and equally many."""
    lines = text.splitlines()[:20]

    def fits(separator: str) -> tuple[bool, int]:
        counts = [len(row) for row in csv.reader(lines, delimiter=separator)]
        return (len(set(counts[:-1])) == 1, counts[0] if counts else 0)

    several = {separator: fits(separator) for separator in _SEPARATORS}
    candidates = [separator for separator, (_, cells) in several.items() if cells > 1]
    return max(candidates, key=lambda separator: several[separator], default=",")


def write_table(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Writes rows as CSV in UTF-8 with commas to a new file.

    Raises:
        DataError: the file exists, or cannot be written.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
    except FileExistsError:
        raise DataError(f"{path} exists: delete it, or name another manifest with --file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
