"""PURE: decides which of the rows that were read belong to the seed, evaluation and test set."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping

from llm2llm.api.data import HeldOutSource, Share, folded
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.data.intake import SourceRow, SourceRows, format_line_numbers
from llm2llm.data.sampling import choose_rows, sample_size
from llm2llm.errors import DataError
from llm2llm.loop.probing import FOLDS
from llm2llm.tasks import Task, grading

_LINES_TOLD = 10
_PROMPTS_TOLD = 5
BEFORE = {"evaluation": ("seed",), "test": ("seed", "evaluation")}
"""Held-out set to the sets that it must not share a row with."""


def sample_rows(name: str, rows: SourceRows, share: Share | None, spec: AugmentationRunSpec) -> None:
    """Keeps only a share of the rows, stratified by label; broken rows are reported, sampled or not.

    Raises:
        DataError: there are fewer rows than the share asks for.
    """
    if share is None or (rows.broken and not rows.rows):  # then the broken rows are what is wrong
        return
    count = _rows_in_share(share, len(rows.rows), f"spec.{name}.sample")
    if count > len(rows.rows):
        raise DataError(
            f"spec.{name}.sample: cannot take {count} rows: {rows.uri} has only {len(rows.rows)} usable ones"
        )
    kept = choose_rows(_labels(rows), count, seed=spec.random_seed, purpose=name, stratify=spec.task.labeled)
    rows.rows = [row for index, row in enumerate(rows.rows) if index in kept]


def _rows_in_share(share: Share, rows: int, path: str) -> int:
    """Returns the number of rows of a share.

    Raises:
        DataError: it is less than one.
    """
    count = sample_size(share, rows)
    if not count and rows:
        raise DataError(
            f"{path}: {share.fraction} of {rows} rows is less than one row: use a larger fraction, or a count"
        )
    return count


def hold_out_rows(sets: dict[str, SourceRows], spec: AugmentationRunSpec) -> None:
    """Moves the rows of `fromSeed` from the seed set to the held-out sets.

    Raises:
        DataError: there are too few rows, or none would remain to train on.
    """
    if "seed" not in sets or (sets["seed"].broken and not sets["seed"].rows):
        return  # it could not be read, which is reported already
    seeds = sets["seed"]
    seed_count = len(seeds.rows)
    for name, source in spec.data.sources().items():
        if not isinstance(source, HeldOutSource) or source.from_seed is None:
            continue
        count = _rows_in_share(source.from_seed, seed_count, f"spec.data.{name}.fromSeed")
        if count >= len(seeds.rows):
            raise DataError(
                f"spec.data.{name}.fromSeed: cannot hold out {count} of the {len(seeds.rows)} rows of data.seed: at "
                "least one must remain"
            )
        stratify = source.from_seed.stratify and spec.task.labeled
        taken = choose_rows(
            _labels(seeds), count, seed=spec.random_seed, purpose=f"data.{name}", stratify=stratify, leave_each=True
        )
        sets[name] = SourceRows(seeds.uri, [row for index, row in enumerate(seeds.rows) if index in taken])
        seeds.rows = [row for index, row in enumerate(seeds.rows) if index not in taken]


def check_folds(sets: Mapping[str, SourceRows], spec: AugmentationRunSpec) -> None:
    """Checks that there are enough seed rows for `errorsFrom: Probe`.

    Raises:
        DataError: there is not a seed row for each fold.
    """
    if "seed" not in sets or (sets["seed"].broken and not sets["seed"].rows):
        return
    if spec.errors_from == "Probe" and len(sets["seed"].rows) < FOLDS:
        raise DataError(
            f"spec.errorsFrom: Probe needs at least one seed row for each of the {FOLDS} folds, but data.seed has "
            f"{len(sets['seed'].rows)}"
        )


def _labels(rows: SourceRows) -> list[str]:
    return [folded(row.example.completion) for row in rows.rows]


def drop_known_rows(name: str, sets: Mapping[str, SourceRows], task: Task) -> str:
    """Removes rows of a held-out set whose prompt is also in an earlier set; returns a sentence about them, or ''.

    A row that was trained on, or that selected the best iteration, proves nothing.

    Raises:
        DataError: no row remains.
    """
    rows = sets[name]
    before = rows.rows
    known = BEFORE[name]
    for other in known:
        prompts = {folded(task.render(row.example.fields)) for row in sets[other].rows} if other in sets else set()
        rows.rows = [row for row in rows.rows if folded(task.render(row.example.fields)) not in prompts]
    if not rows.rows:
        raise DataError(f"data.{name} {rows.uri}: every row is also a row of data.{' or data.'.join(known)}")
    kept = {row.line for row in rows.rows}
    dropped = [row.line for row in before if row.line not in kept]
    if not dropped:
        return ""
    return (
        f"{len(dropped)} {name} rows are also {' or '.join(known)} rows and were dropped "
        f"({format_line_numbers(dropped, _LINES_TOLD)})"
    )


def contradictions(name: str, rows: SourceRows, task: Task) -> str:
    """Returns a sentence about rows whose prompt another row answers differently, or ''.

    No student can be right about both, so each iteration would pay for more rows like one of them.
    """
    first: dict[str, SourceRow] = {}
    conflicts: dict[int, list[int]] = defaultdict(list)
    for row in rows.rows:
        prompt = unicodedata.normalize("NFC", task.render(row.example.fields))
        other = first.setdefault(prompt, row)
        if task.grade(other.example.completion, row.example.completion)[1] != grading.CORRECT:
            conflicts[other.line].append(row.line)
    if not conflicts:
        return ""
    shown = [
        format_line_numbers([line, *others], _LINES_TOLD) for line, others in list(conflicts.items())[:_PROMPTS_TOLD]
    ]
    more = f"; and {len(conflicts) - _PROMPTS_TOLD} more prompts" if len(conflicts) > _PROMPTS_TOLD else ""
    lines = "; ".join(shown) + more
    return f"data.{name} has prompts with different answers, of which a student can give only one ({lines})"
