"""PURE: parses a file of rows into records, each with its number, or with the reason why it is invalid.

It reads the formats that data sets are published in: JSON Lines, CSV with a header, and Parquet. Parquet is read with
pyarrow, as `datasets` does; the rest of that library is not needed for one file.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from llm2llm.data.cells import read_cells
from llm2llm.data.misread import foreign_format, json_in_a_table, missing_columns, other_separator
from llm2llm.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Found = tuple[int, Mapping[str, object] | str]
"""Line (of text) or row (of Parquet), both counted from 1, with the record or what is wrong with it."""
_NAMED_LINES = 10
_LINE_END = re.compile(rb"\r\n?|\n")


def records(uri: str, data: bytes, columns: Collection[str], required: Collection[str] = ()) -> Iterator[Found]:
    """Yields the records of a file; its extension selects .parquet, .csv or .tsv, else it is read as JSON Lines.

    Args:
        uri: of the file.
        data: its content.
        columns: those that are read. Others of a Parquet file are not, because they may have types that cannot be; they
            are None.
        required: those without which no row can be used.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    if foreign := foreign_format(data):
        raise DataError(f"{uri}: {foreign}")
    match PurePosixPath(uri).suffix.lower():
        case ".parquet":
            return _parquet(uri, data, columns, required)
        case ".csv":
            return _separated(uri, data, ",", required)
        case ".tsv":
            return _separated(uri, data, "\t", required)
        case _:
            return _json_lines(uri, data)


def _json_lines(uri: str, data: bytes) -> Iterator[Found]:
    """Parses UTF-8 with one JSON object per line; blank lines are counted but hold no record."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if _one_document(data):
        raise DataError(
            f"{uri}: is a single JSON document, but JSON Lines is expected, one object per line: jq -c '.[]' converts "
            "an array"
        )
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, _json(line)


def _one_document(data: bytes) -> bool:
    """Returns whether a file is an array, or an object that spans several lines."""
    first = re.match(rb"\s*([\[{][^\n]*)", data)
    if first is None or (first[1].startswith(b"{") and not isinstance(_json(first[1]), str)):
        return False
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _json(line: bytes) -> Mapping[str, object] | str:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start}"
    except json.JSONDecodeError as error:
        return f"invalid JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return "JSON is nested too deeply"
    except ValueError as error:
        return f"invalid JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def _separated(uri: str, data: bytes, separator: str, required: Collection[str]) -> Iterator[Found]:
    """Parses RFC 4180 with a header; a quoted cell may span lines, and a record has the number of its first line."""
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{uri}: invalid UTF-8 in {lines_of_other_encodings(data)}: save the file as UTF-8") from None
    reader = read_cells(io.StringIO(text, newline=""), separator, strict=True)
    first = 1
    try:
        if other := json_in_a_table(text) or other_separator(
            re.split(r"[\r\n]", text, maxsplit=1)[0], separator, required
        ):
            raise DataError(f"{uri}: {other}")
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise DataError(f"{uri}: two columns have the same name: {', '.join(map(repr, header))[:200]}")
        if header and (missing := missing_columns(header, required)):
            raise DataError(f"{uri}: {missing}")
        first = reader.line_num + 1
        for cells in reader:
            if separator == "\t" and reader.line_num > first:
                yield first, f"a quote that opens here closes in line {reader.line_num}: write quotes in cells as two"
            elif cells and len(cells) == len(header):
                yield first, dict(zip(header, cells, strict=True))
            elif cells:
                yield first, _describe_cells(len(cells), len(header), separator)
            first = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{uri}: invalid CSV in the record that starts in line {first}: {error}: a cell with a quote in it is put "
            "in quotes, and the quote is written twice"
        ) from None


def _describe_cells(cells: int, columns: int, separator: str) -> str:
    name = "comma" if separator == "," else "tab"
    advice = f": a cell with a {name} in it is put in quotes" if cells > columns else ""
    return f"{cells} cell{'s' if cells > 1 else ''}, but the header has {columns}{advice}"


def lines_of_other_encodings(data: bytes) -> str:
    """Returns the numbers of the lines that are not in UTF-8, in words."""
    bad = [number for number, line in enumerate(_LINE_END.split(data), start=1) if not is_utf8(line)]
    named = ", ".join(map(str, bad[:_NAMED_LINES]))
    more = f" and {len(bad) - _NAMED_LINES} more" if len(bad) > _NAMED_LINES else ""
    return f"line{'s' if len(bad) > 1 else ''} {named}{more}"


def is_utf8(line: bytes) -> bool:
    """Tells whether bytes are text in UTF-8."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _parquet(uri: str, data: bytes, columns: Collection[str], required: Collection[str]) -> Iterator[Found]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(data))
        names = file.schema_arrow.names
        table = file.read(columns=[name for name in names if name in columns])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{uri}: not a valid Parquet file: {error}") from None
    if missing := missing_columns(names, required):
        raise DataError(f"{uri}: {missing}")
    number = 0
    for batch in table.to_batches(max_chunksize=1000):
        try:
            rows = pa.RecordBatch.from_arrays(
                [_shortest(column) for column in batch.columns], names=batch.schema.names
            ).to_pylist()
        except (
            pa.ArrowException,
            ValueError,
            OverflowError,
        ) as error:  # text that is not UTF-8, a date beyond the calendar
            raise DataError(f"{uri}: rows {number + 1} to {number + batch.num_rows} cannot be read: {error}") from None
        for row in rows:
            number += 1
            yield number, {name: row.get(name) for name in names}


def _shortest(column: pa.Array) -> pa.Array:
    """Casts a column of 32-bit floats to doubles with the same shortest text: 1.1 instead of 1.10000002384."""
    import pyarrow as pa

    return column.cast(pa.string()).cast(pa.float64()) if pa.types.is_float32(column.type) else column
