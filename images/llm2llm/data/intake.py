"""PURE: turns the user's rows into examples. Their content is taken as text, or rejected with its line number."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from llm2llm.data.formats import records
from llm2llm.errors import DataError
from llm2llm.records import Example, digest_of
from llm2llm.suggestion import did_you_mean

_REASONS_SHOWN = 10
_REASON_LENGTH = 160
"""Maximum length of a reason, with advice; ten of them fit into a report's message."""
_LINES_SHOWN = 5
"""Lines shown per reason: enough to see the pattern, few enough to read."""
_NAMES_SHOWN = 5
_ID_DIGITS = 16
_ID = "id"
"""The column with the ids of rows, unless the mapping names another."""


@dataclass(frozen=True)
class SourceRow:
    """An example with its line number."""

    line: int
    example: Example


@dataclass
class SourceRows:
    """The content of one file: usable rows, and the reason for each broken line."""

    uri: str
    rows: list[SourceRow] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)

    def refuse(self, lines: Mapping[int, str]) -> None:
        """Marks these lines as broken and removes their rows."""
        self.broken |= lines
        self.rows = [row for row in self.rows if row.line not in lines]

    def normalize(self, normal: Callable[[str], str]) -> None:
        """Replaces completions by the form that is taught, e.g. a class number by its name."""
        self.rows = [
            SourceRow(row.line, row.example.model_copy(update={"completion": normal(row.example.completion)}))
            for row in self.rows
        ]

    def problem(self, name: str) -> str:
        """Describes the broken lines in one sentence, by reason; '' if there are none."""
        if not self.broken:
            return ""
        lines: dict[str, list[int]] = {}
        for line, reason in sorted(self.broken.items()):
            lines.setdefault(reason[:_REASON_LENGTH], []).append(line)
        shown = dict(itertools.islice(lines.items(), _REASONS_SHOWN))
        parts = "; ".join(
            f"{format_line_numbers(numbers, _LINES_SHOWN)}: {reason}" for reason, numbers in shown.items()
        )
        others = len(self.broken) - sum(map(len, shown.values()))
        more = f"; and {others} more" if others else ""
        plural = "s" if len(self.broken) > 1 else ""
        return f"{name} {self.uri} has {len(self.broken)} broken row{plural}: {parts}{more}"


def format_line_numbers(lines: Sequence[int], most: int) -> str:
    """Formats line numbers, at most `most` of them: `line 3`, `lines 3, 5 and 9 more`."""
    shown = ", ".join(map(str, lines[:most]))
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"


def mapping_problem(mapping: Mapping[str, str]) -> str:
    """Returns why no row can be read by the fields of a set, with how to write them; '' if they name an answer."""
    if "completion" in mapping:
        return ""
    if "completion" in mapping.values():
        turned = ", ".join(f"{name}: {column}" for column, name in mapping.items())
        return f"the names of the task stand on the left, and those of the file on the right: write {{{turned}}}"
    return (
        "'completion' is missing, the task's name for the right answer: add completion: COLUMN, with the column that "
        "holds it"
    )


def read_rows(uri: str, data: bytes, mapping: Mapping[str, str]) -> SourceRows:
    """Reads the rows of a JSON Lines, CSV or Parquet file.

    Args:
        uri: of the file; its extension selects the format.
        data: its content.
        mapping: name in the task to name in the file; `completion` is the answer, `id` (by default `id`) names the row.

    Raises:
        DataError: the file as a whole cannot be read, or no row has the field that is mapped to `id`.
    """
    source_rows = SourceRows(uri)
    seen: dict[str, int] = {}
    id_field = mapping.get("id")
    has_ids = id_field is None
    required = [column for name, column in mapping.items() if name != "id"]
    for number, record in records(uri, data, {*mapping.values(), _ID}, required):
        has_ids = has_ids or (not isinstance(record, str) and id_field in record)
        try:
            example, has_own_id = _example(record, mapping)
        except ValueError as error:
            source_rows.broken[number] = str(error)
            continue
        if has_own_id and example.id in seen:
            source_rows.broken[number] = f"the id {example.id[:60]!r} is already used in line {seen[example.id]}"
            continue
        identity = _free_id(example.id, seen)
        seen[identity] = number
        source_rows.rows.append(SourceRow(number, example.model_copy(update={"id": identity})))
    if source_rows.rows and not has_ids:
        raise DataError(
            f"{uri}: no row has a field {id_field!r}: correct `id` in the fields of this file, or remove it"
        )
    return source_rows


def _example(row: Mapping[str, object] | str, mapping: Mapping[str, str]) -> tuple[Example, bool]:
    """Returns the example in a record, and whether the record has an id.

    Raises:
        ValueError: the record cannot be used; the message says why.
    """
    if isinstance(row, str):
        raise ValueError(row)  # noqa: TRY004 - it says what is wrong with the record
    texts = {name: _text(row, column) for name, column in mapping.items() if name != "id"}
    completion = texts.pop("completion")
    column = mapping.get("id", _ID)
    if row.get(column) not in (None, ""):
        return Example(id=_text(row, column), fields=texts, completion=completion), True
    identity = digest_of([texts, completion]).removeprefix("sha256:")[:_ID_DIGITS]
    return Example(id=identity, fields=texts, completion=completion), False


def _text(row: Mapping[str, object], column: str) -> str:
    if column not in row:
        names = [repr(name[:20]) for name in row]
        fields = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        known = f" (the fields are {fields})" if names else ""
        raise ValueError(f"no field {column!r}{did_you_mean(column, row)}{known}")
    value = row[column]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"field {column!r} is {value}: use a finite number or a string")
    if isinstance(value, (bool, int, float)):
        value = json.dumps(value)
    if not isinstance(value, str):
        raise ValueError(f"field {column!r} is neither a string nor a number")  # noqa: TRY004
    if "\0" in value:
        raise ValueError(f"field {column!r} contains a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"field {column!r} contains half of a surrogate pair") from None
    return value


def _free_id(wanted: str, taken: Mapping[str, int]) -> str:
    """Returns an unused id: the second of two rows with the same content gets `-2`, so that each id names one row."""
    candidates: Iterator[str] = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
    return wanted if wanted not in taken else next(name for name in candidates if name not in taken)


def lines_where(rows: Iterable[SourceRow], reasons: Sequence[str | None]) -> dict[int, str]:
    """Returns line to reason, for the rows that have a reason."""
    return {row.line: reason for row, reason in zip(rows, reasons, strict=True) if reason is not None}
