"""Reads the file that a person has: in the encoding and with the separator that it happens to have.

A run takes CSV in UTF-8 with commas alone, so that equal files mean equal rows everywhere; `llm2llm init` is where
other files become such a one.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llm2llm.data.cells import read_cells
from llm2llm.data.formats import is_utf8, lines_of_other_encodings
from llm2llm.errors import DataError

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_LINES = ".jsonl", ".ndjson", ".json"
_SIZE_LIMIT = 1 << 30
_LINE_END = re.compile(rb"[\r\n]+")
_FOREIGN = re.compile(r'[^\s,;|"]*[^\x00-\x7f][^\s,;|"]*')
"""A word with letters beyond ASCII."""
_SHOWN = 40


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
            raise DataError(f"{path}: is larger than 1 GiB: use a part of it")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: name a file with a table of examples") from error
    if data[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1"):
        what = "Parquet" if data.startswith(b"PAR1") else "a workbook"
        raise DataError(f"{path}: is {what}: save it as CSV (UTF-8) and name that file")
    text, differs = _decode(path, data)
    if path.suffix.lower() in _LINES or text.lstrip().startswith(("{", "[")):
        return _read_objects(path, text, differs)
    return _read_cells(path, text, differs)


def _decode(path: Path, data: bytes) -> tuple[str, tuple[str, ...]]:
    """Returns the text, and how its encoding differs; Windows' own is a guess that takes nearly whatever there is.

    Raises:
        DataError: it is in none of them, or in UTF-8 but for some lines.
    """
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16"), ("is in UTF-16 instead of UTF-8",)
        if b"\0" in data[:2]:
            raise DataError(f"{path}: is in UTF-16 without the mark that says so: save it as CSV in UTF-8")
        if is_utf8(data):
            return data.decode("utf-8-sig"), ()
        foreign = [line for line in _LINE_END.split(data) if not line.isascii()]
        if data.startswith(b"\xef\xbb\xbf") or sum(map(is_utf8, foreign)) * 2 > len(foreign):
            raise DataError(
                f"{path}: is in UTF-8, but for {lines_of_other_encodings(data)}: correct what is odd there, and save "
                "it as UTF-8"
            )
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: is in none of UTF-8, UTF-16 and Windows-1252: save it as CSV in UTF-8, from the program that "
            "wrote it"
        ) from None
    word = next(_FOREIGN.finditer(text))[0][:_SHOWN]
    return text, (f"is taken for Windows-1252 instead of UTF-8 (is {word!r} as it should be?)",)


def _read_objects(path: Path, text: str, differs: tuple[str, ...]) -> Table:
    if text.lstrip().startswith("["):
        differs = (*differs, "is one JSON array instead of an object on each line")
    try:
        whole = json.loads(text) if text.lstrip().startswith("[") else [
            json.loads(line) for line in text.split("\n") if line.strip()
        ]  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON: {error}") from error
    if not whole or not all(isinstance(row, dict) for row in whole):
        raise DataError(f"{path}: needs an object for each row")
    return Table([{str(name): _text(value) for name, value in row.items()} for row in whole], differs)


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):  # pandas writes NaN where nothing is
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_cells(path: Path, text: str, differs: tuple[str, ...]) -> Table:
    if text.lower().startswith("sep="):
        first, *rest = re.split(r"\r\n?|\n", text, maxsplit=1)
        text = "".join(rest)
        differs = (*differs, f"begins with {first.strip()!r}")
    separator = _separator(path, text)
    expected = "\t" if path.suffix.lower() == ".tsv" else ","
    if separator != expected:
        differs = (*differs, f"is separated by {_SEPARATORS[separator]} instead of {_SEPARATORS[expected]}")
    reader = read_cells(io.StringIO(text, newline=""), separator)
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


def _separator(path: Path, text: str) -> str:
    """Returns the separator by which the first rows have the most cells, and equally many.

    Raises:
        DataError: a cell has no end.
    """
    lines = list(itertools.islice(io.StringIO(text, newline=""), 20))

    def fits(separator: str) -> tuple[bool, int]:
        counts = [len(row) for row in read_cells(lines, separator)]
        return (len(set(counts[:-1])) == 1, counts[0] if counts else 0)

    try:
        several = {separator: fits(separator) for separator in _SEPARATORS}
    except csv.Error as error:
        raise DataError(f"{path}: {error}: a quote that opens a cell has to close it") from error
    candidates = [separator for separator, (_, cells) in several.items() if cells > 1]
    return max(candidates, key=lambda separator: several[separator], default=",")


def as_csv(rows: Sequence[dict[str, str]]) -> bytes:
    """Returns rows as a run takes them: CSV in UTF-8 with commas.

    Raises:
        DataError: a text has half of a surrogate pair, which is no character.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    try:
        return text.getvalue().encode()
    except UnicodeEncodeError as error:
        before = text.getvalue()[max(0, error.start - _SHOWN) : error.start]
        raise DataError(
            f"the text after {before!r} is half of a surrogate pair, which is no character: correct the file"
        ) from error


def write_new(content: bytes, path: Path) -> None:
    """Writes a new file.

    Raises:
        DataError: the file exists, or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise DataError(f"{path} exists: delete it, or name another manifest with --file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: name another manifest with --file") from error
