"""Decides whether a table has to be rewritten before a run takes it: by reading its rows as the run will.

`tables.py` reads more than a run does, so only the run's own reader tells which file it would refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.data.intake import read_rows
from llm2llm.drafts.tables import Table, as_csv, write_new
from llm2llm.errors import DataError
from llm2llm.stages.row_checks import refuse_invalid_rows
from llm2llm.tasks import task_of


@dataclass(frozen=True)
class Settled:
    """The file that a run takes the rows from.

    Attributes:
        path: the table itself, or what it was rewritten to.
        differs: why it was rewritten; empty if it was not.
        problems: what the run will refuse nevertheless, in words; empty if nothing.
    """

    path: Path
    differs: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reading:
    """What a run makes of a file: how many rows it takes and refuses, and what is wrong with those."""

    usable: int
    broken: int
    problems: tuple[str, ...]


def settle_rows(data: Path, table: Table, target: Path, spec: AugmentationRunSpec) -> Settled:
    """Writes the table to another file if a run takes more rows then, or refuses fewer.

    Args:
        data: the file that the table was read from.
        table: its rows.
        target: new file for them.
        spec: that of the run; where its rows are does not matter.

    Raises:
        DataError: the table has to be rewritten and cannot be.
    """
    before = None if table.differs else _read(data, data.read_bytes(), spec, len(table.rows))
    if before and not before.problems:
        return Settled(data)
    try:
        content = as_csv(table.rows)
    except DataError as error:
        if before:
            return Settled(data, problems=before.problems)
        raise DataError(f"{data}: {error.message}") from error
    after = _read(target, content, spec, len(table.rows))
    if before and (after.usable, -after.broken) <= (before.usable, -before.broken):
        return Settled(data, problems=before.problems)
    write_new(content, target)
    return Settled(target, before.problems if before else table.differs, after.problems)


def _read(path: Path, content: bytes, spec: AugmentationRunSpec, total: int) -> _Reading:
    uri = path.absolute().as_uri()
    try:
        rows = read_rows(uri, content, spec.data.seed.fields)
    except DataError as error:
        return _Reading(0, total, (f"cannot be read by a run ({error.message.removeprefix(f'{uri}: ')})",))
    refuse_invalid_rows(rows, task_of(spec.task))
    problem = rows.problem("").replace(f" {uri} ", "", 1)
    return _Reading(len(rows.rows), len(rows.broken), (problem,) if problem else ())
