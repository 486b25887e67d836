"""Prints rows as a table for people, or as JSON or CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from llm2llm.plaintext import plain

TEXT_LIMIT = 160
"""Maximum characters of a cell of a table; JSON and CSV have the whole text."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Output = Annotated[Format, typer.Option("--output", "-o", help="Output format; json and csv contain the full text.")]


def print_rows(rows: Sequence[Mapping[str, Any]], output: Format, empty: str, expected: Sequence[str] = ()) -> None:
    """Prints rows whose keys are the columns, in the order in which they first occur.

    Args:
        rows: of strings and numbers.
        output: the format.
        empty: sentence to print instead of a table without rows.
        expected: the columns of a CSV without rows.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row)) or list(expected)
    match output:
        case Format.JSON:
            print(json.dumps(list(rows), indent=2, ensure_ascii=not _is_unicode()))
        case Format.CSV:
            _print_csv([columns, *([row.get(name, "") for name in columns] for row in rows)])
        case _:
            _print_table(rows, columns, empty)


def _print_csv(rows: Iterable[Sequence[object]]) -> None:
    plain_rows, quoted = (
        csv.writer(sys.stdout, lineterminator="\n", quoting=quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    for row in rows:
        cells = [_csv_cell(value) for value in row]
        # Python's writer leaves a carriage return without quotes, where readers take it for the end of the row
        (quoted if any("\r" in str(cell) for cell in cells) else plain_rows).writerow(cells)


def _csv_cell(value: object) -> object:
    """Returns a cell that a spreadsheet shows, too: it would compute a text that begins like a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(Text(plain(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name, ""))) for name in columns))
    Console().print(table)


def _cell(value: object) -> str:
    text = plain(str(value))
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}…"
