"""Reads lines of separated cells, however long a cell is: some contexts are longer than Python's own limit."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _csv import Reader

LONGEST_CELL = 16 * 1024 * 1024
"""Maximum characters of a cell; Python's default is 131,072."""


def read_cells(lines: Iterable[str], separator: str, *, strict: bool = False) -> Reader:
    """Returns a reader of the rows in these lines; it raises csv.Error for a row that cannot be read."""
    csv.field_size_limit(LONGEST_CELL)
    return csv.reader(lines, delimiter=separator, strict=strict)
