"""`report/index.html`: a run on one page, to be opened from anywhere: no script, nothing fetched from elsewhere.

Rows, answers and refusals come from users, a teacher and a student: they are data. Jinja escapes every value, a content
security policy in the page forbids everything that it does not need, and `bdi` keeps text of another direction from
turning around what stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from llm2llm.records import Example, Metric, Report
from llm2llm.report.history import SeedHistory

TEMPLATE = Path(__file__).with_name("page.html.jinja")
TEXT_LIMIT = 400
"""Characters of a row or an answer that the page shows."""
SUSPECTS_SHOWN = 50
ROWS_SHOWN = 3
"""Synthetic rows of each iteration."""
WIDTH, HEIGHT, MARGIN = 640, 240, 40
"""Of the curve, in pixels."""


@dataclass(frozen=True)
class IterationRow:
    """An iteration, as far as it is done; `judged` is the score that the objective looks at."""

    name: str
    train: Report | None = None
    evaluate: Report | None = None
    generate: Report | None = None
    judged: Metric | None = None
    learned: int = 0
    forgotten: int = 0
    best: bool = False
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Reason to how many answers of the teacher were refused for it."""
    samples: Sequence[Example] = ()


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    run: str
    uri: str
    rows: Sequence[IterationRow]
    test: Sequence[Metric]
    suspects: Sequence[SeedHistory]


@dataclass(frozen=True)
class Point:
    """A score on the curve, in pixels from the upper left."""

    x: float
    y: float
    low: float
    high: float
    name: str


def curve(rows: Sequence[IterationRow]) -> list[Point]:
    """The judged scores with their intervals; the scale is from 0 to 1, so that no swing looks larger than it is."""
    told = [(row.name, row.judged) for row in rows if row.judged]
    step = (WIDTH - 2 * MARGIN) / max(1, len(told) - 1)

    def height(value: float) -> float:
        return round(HEIGHT - MARGIN - value * (HEIGHT - 2 * MARGIN), 1)

    return [
        Point(round(MARGIN + place * step, 1), height(score.value), height(score.low), height(score.high), name)
        for place, (name, score) in enumerate(told)
    ]


def render(page: Page) -> bytes:
    """The page in UTF-8; what UTF-8 cannot say (a half of a surrogate pair) is a question mark."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["short"] = _short
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    points = curve(page.rows)
    usage = [row.generate.usage for row in page.rows if row.generate]
    return template.render(
        page=page,
        points=points,
        line=" ".join(f"{point.x},{point.y}" for point in points),
        suspects=page.suspects[:SUSPECTS_SHOWN],
        requests=sum(each.teacher_requests for each in usage),
        tokens=sum(each.teacher_input_tokens + each.teacher_output_tokens for each in usage),
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
    ).encode("utf-8", "replace")


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]} ... ({len(text)} characters)"
