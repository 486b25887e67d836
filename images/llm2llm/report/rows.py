"""PURE: chooses the rows that the page holds, the most telling first, within a size that a browser opens at once.

Each row becomes a small JSON object, which the page's script shows. What has no room is counted, with the file that
has it all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm2llm.records import Example, Prediction
from llm2llm.report.collect import Contents
from llm2llm.report.history import SeedHistory

SIZE_LIMIT = 4_000_000
"""Bytes of all rows together; the page itself stays below 5 MB."""
TEXT_LIMIT = 4_000
"""Maximum characters of a text on the page."""
NAME_LIMIT = 200
"""Maximum characters of an id, a field's name or a verdict."""
SEED_ROWS, HELD_OUT_ROWS, KEPT_ROWS, REJECTED_ROWS = "seed", "evaluation", "kept", "rejected"


@dataclass(frozen=True)
class ShownRows:
    """What the page's script gets, and what had no room.

    Attributes:
        answered: rows of the seed and evaluation sets with the students' answers.
        written: rows that the teacher wrote, with the verdict of the filters.
        omitted: kind of row to the number of rows that had no room.
    """

    answered: list[dict[str, Any]]
    written: list[dict[str, Any]]
    omitted: Mapping[str, int]


def choose_rows(contents: Contents, limit: int = SIZE_LIMIT) -> ShownRows:
    """Returns the rows to show: mistakes first, then what the teacher wrote, then rows that were never wrong."""
    answered = [*_seed_rows(contents.seeds), *_held_out_rows(contents)]
    mistakes = [row for row in answered if row["wrong"]]
    others = [row for row in answered if not row["wrong"]]
    left = limit
    shown: dict[str, list[dict[str, Any]]] = {"answered": [], "written": []}
    omitted: dict[str, int] = {}
    for part, rows in (
        ("answered", sorted(mistakes, key=lambda row: (row["set"] != SEED_ROWS, -row["wrong"]))),
        ("written", [*_kept_rows(contents), *_rejected_rows(contents)]),
        ("answered", others),
    ):
        for row in rows:
            size = len(json.dumps(row, separators=(",", ":"))) + 1
            if size <= left:
                shown[part].append(row)
                left -= size
            else:
                omitted[row["set"]] = omitted.get(row["set"], 0) + 1
    return ShownRows(shown["answered"], shown["written"], omitted)


def shortened(text: str, limit: int = TEXT_LIMIT) -> str:
    """Returns at most so many characters of a text; a longer one says how long it was."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text):,} characters)"


def _texts(example: Example) -> dict[str, str]:
    return {shortened(name, NAME_LIMIT): shortened(value) for name, value in example.fields.items()}


def _seed_rows(seeds: Iterable[SeedHistory]) -> Iterator[dict[str, Any]]:
    for place, seed in enumerate(seeds, 1):
        row = _answered(SEED_ROWS, place, seed.example, dict(seed.answers))
        yield row | ({"suspect": True} if seed.suspect else {})


def _held_out_rows(contents: Contents) -> Iterator[dict[str, Any]]:
    answers: dict[str, dict[int, Prediction]] = {}
    for iteration in contents.iterations:
        for prediction in iteration.answers.get(HELD_OUT_ROWS, ()):
            answers.setdefault(prediction.id, {})[iteration.index] = prediction
    for place, example in enumerate(contents.held_out, 1):
        yield _answered(HELD_OUT_ROWS, place, example, answers.get(example.id, {}))


def _answered(kind: str, place: int, example: Example, answers: Mapping[int, Prediction]) -> dict[str, Any]:
    return {
        "set": kind,
        "row": place,
        "id": shortened(example.id, NAME_LIMIT),
        "text": _texts(example),
        "label": shortened(example.completion),
        "answers": [[index, given.verdict, shortened(given.output)] for index, given in sorted(answers.items())],
        "wrong": sum(not given.correct for given in answers.values()),
    }


def _kept_rows(contents: Contents) -> Iterator[dict[str, Any]]:
    for iteration in contents.iterations:
        for example in iteration.kept:
            yield {
                "set": KEPT_ROWS,
                "iteration": iteration.index,
                "id": shortened(example.id, NAME_LIMIT),
                "text": _texts(example),
                "label": shortened(example.completion),
                "seed": shortened(example.root, NAME_LIMIT),
                "verdict": "kept",
            }


def _rejected_rows(contents: Contents) -> Iterator[dict[str, Any]]:
    for iteration in contents.iterations:
        for answer in iteration.rejected:
            yield {
                "set": REJECTED_ROWS,
                "iteration": iteration.index,
                "id": shortened(answer.id, NAME_LIMIT),
                "text": {"": shortened(answer.text)},
                "label": "",
                "seed": shortened(answer.seed, NAME_LIMIT),
                "verdict": shortened(answer.reason, NAME_LIMIT),
                "detail": shortened(answer.detail),
            }
