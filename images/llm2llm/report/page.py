"""Renders `report/index.html`: a run on one page that can be opened anywhere, without scripts or external resources.

Rows, answers and rejections come from users, a teacher and a student, so they are untrusted data. Jinja escapes every
value, a content security policy in the page forbids everything that it does not need, and `bdi` keeps text of another
direction from reordering the text next to it.
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
"""Maximum characters of a row or an answer on the page."""
SUSPECTS_SHOWN = 50
ROWS_SHOWN = 3
"""Number of synthetic rows shown for each iteration."""
WIDTH, HEIGHT, MARGIN = 640, 240, 40
"""Size of the curve, in pixels."""


@dataclass(frozen=True)
class IterationRow:
    """An iteration, as far as it is done; `judged` is the score that the objective refers to."""

    name: str
    train: Report | None = None
    evaluate: Report | None = None
    generate: Report | None = None
    judged: Metric | None = None
    learned: int = 0
    forgotten: int = 0
    best: bool = False
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Reason to the number of the teacher's answers that were rejected for it."""
    samples: Sequence[Example] = ()


@dataclass(frozen=True)
class Page:
    """Everything that the page shows."""

    run: str
    uri: str
    rows: Sequence[IterationRow]
    test: Sequence[Metric]
    suspects: Sequence[SeedHistory]


@dataclass(frozen=True)
class Point:
    """A score on the curve, in pixels from the upper left corner."""

    x: float
    y: float
    low: float
    high: float
    name: str


def curve(rows: Sequence[IterationRow]) -> list[Point]:
    """Returns the judged scores with their intervals; the scale is 0 to 1, so that no swing looks larger than it is."""
    scores = [(row.name, row.judged) for row in rows if row.judged]
    step = (WIDTH - 2 * MARGIN) / max(1, len(scores) - 1)

    def height(value: float) -> float:
        return round(HEIGHT - MARGIN - value * (HEIGHT - 2 * MARGIN), 1)

    return [
        Point(round(MARGIN + position * step, 1), height(score.value), height(score.low), height(score.high), name)
        for position, (name, score) in enumerate(scores)
    ]


def render(page: Page) -> bytes:
    """Renders the page in UTF-8; what UTF-8 cannot encode (half of a surrogate pair) becomes a question mark."""
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
