"""`report/index.html`: a run on one page, to be opened from anywhere: no script, nothing fetched from elsewhere.

Rows, answers and refusals come from users, a teacher and a student: they are data. Jinja escapes every value, a content
security policy in the page forbids everything that it does not need, and `bdi` keeps text of another direction from
turning around what stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jinja2

from llm2llm.records import Example, Metric, Report
from llm2llm.report.history import SeedHistory

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
    template = environment.from_string(TEMPLATE)
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


TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.run|short }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr.best { background: #eaf6ea; }
bdi { white-space: pre-wrap; overflow-wrap: anywhere; }
.more { color: #666; }
svg text { font-size: 11px; fill: #555; }
</style>
</head>
<body>
<h1>{{ page.run|short }}</h1>
<p class="more">{{ page.uri|short }}</p>
{% macro score(of) %}{{ "%.3f" % of.value }} [{{ "%.3f" % of.low }}, {{ "%.3f" % of.high }}]{% endmacro %}

<h2>Iterations</h2>
<p class="more">Scores have 95 % intervals. Learned and forgotten count seed rows, compared with the last iteration
that answered them. Gained and lost count rows of the set that decides, compared with the iteration to beat.</p>
<table>
<tr><th>iteration</th><th class="n">train rows</th><th class="n">steps</th><th>score</th><th>on</th>
<th class="n">mistakes</th><th class="n">learned</th><th class="n">forgotten</th><th>gained / lost</th>
<th class="n">kept / judged</th><th class="n">tokens</th></tr>
{% for row in page.rows %}
<tr{% if row.best %} class="best"{% endif %}><td>{{ row.name }}{% if row.best %} (best){% endif %}</td>
<td class="n">{{ row.train.train_examples if row.train }}</td>
<td class="n">{{ row.train.optimizer_steps if row.train }}</td>
<td>{% if row.judged %}{{ row.judged.name }} {{ score(row.judged) }}{% endif %}</td>
<td>{% if row.judged %}{{ row.judged.examples }} {{ row.judged.dataset }} rows{% endif %}</td>
<td class="n">{{ row.evaluate.mistakes if row.evaluate }}</td>
<td class="n">{{ row.learned if row.evaluate }}</td>
<td class="n">{{ row.forgotten if row.evaluate }}</td>
<td>{% if row.evaluate and row.evaluate.paired %}{{ row.evaluate.paired.gained }} / {{ row.evaluate.paired.lost }}
against {{ row.evaluate.paired.against }}{% endif %}</td>
<td class="n">{% if row.generate %}{{ row.generate.kept }} / {{ row.generate.generated }}{% endif %}</td>
<td class="n">{% if row.generate %}
{{ row.generate.usage.teacher_input_tokens + row.generate.usage.teacher_output_tokens }}{% endif %}</td></tr>
{% endfor %}
</table>
{% if points %}
<svg width="{{ width }}" height="{{ height }}" viewBox="0 0 {{ width }} {{ height }}" role="img">
<title>The score by iteration, from 0 to 1, with 95 % intervals</title>
{% for share in [0, 0.25, 0.5, 0.75, 1] %}
{% set y = height - margin - share * (height - 2 * margin) %}
<line x1="{{ margin }}" x2="{{ width - margin }}" y1="{{ y }}" y2="{{ y }}" stroke="#ddd"/>
<text x="4" y="{{ y + 4 }}">{{ share }}</text>
{% endfor %}
{% for point in points %}
<line x1="{{ point.x }}" x2="{{ point.x }}" y1="{{ point.low }}" y2="{{ point.high }}" stroke="#9bc" stroke-width="3"/>
<text x="{{ point.x }}" y="{{ height - 14 }}" text-anchor="middle">{{ point.name }}</text>
{% endfor %}
<polyline points="{{ line }}" fill="none" stroke="#247" stroke-width="2"/>
{% for point in points %}
<circle cx="{{ point.x }}" cy="{{ point.y }}" r="3" fill="#247"/>
{% endfor %}
</svg>
{% endif %}
{% if page.test %}
<h2>Test set, on the best adapter</h2>
<p>{% for metric in page.test %}{{ metric.name }} {{ score(metric) }} on {{ metric.examples }} rows
{{ "; " if not loop.last }}{% endfor %}</p>
{% endif %}

<h2>Suspects</h2>
{% if suspects %}
<p class="more">Seed rows that three or more iterations got wrong: check their labels first.
{% if page.suspects|length > suspects|length %}The first {{ suspects|length }} of {{ page.suspects|length }}; all are in
seeds.jsonl.{% endif %}</p>
<table>
<tr><th>row</th><th>text</th><th>label</th><th>answered</th></tr>
{% for seed in suspects %}
<tr><td><bdi>{{ seed.example.id|short }}</bdi></td>
<td>{% for name, value in seed.example.fields.items() %}<div><span class="more">{{ name|short }}</span>
<bdi>{{ value|short }}</bdi></div>{% endfor %}</td>
<td><bdi>{{ seed.example.completion|short }}</bdi></td>
<td>{% for iteration, told in seed.answers if not told.correct %}<div><span class="more">{{ iteration }}</span>
<bdi>{{ told.output|short }}</bdi></div>{% endfor %}</td></tr>
{% endfor %}
</table>
{% else %}
<p>No seed row was wrong in three or more iterations.</p>
{% endif %}

<h2>What the teacher wrote</h2>
<p>{{ requests }} requests, {{ tokens }} tokens in all rounds.</p>
{% for row in page.rows if row.generate %}
<h3>Iteration {{ row.name }}: {{ row.generate.kept }} rows kept</h3>
<p>{% if row.rejected %}Rejected: {% for reason, count in row.rejected.items() %}<bdi>{{ reason|short }}</bdi>
{{ count }}{{ ", " if not loop.last }}{% endfor %}{% else %}Nothing was rejected.{% endif %}</p>
{% if row.samples %}
<table>
<tr><th>row</th><th>text</th><th>label</th><th>written for</th><th>seed row</th></tr>
{% for sample in row.samples %}
<tr><td><bdi>{{ sample.id|short }}</bdi></td>
<td>{% for name, value in sample.fields.items() %}<div><span class="more">{{ name|short }}</span>
<bdi>{{ value|short }}</bdi></div>{% endfor %}</td>
<td><bdi>{{ sample.completion|short }}</bdi></td>
<td><bdi>{{ (sample.lineage or {}).get("parent", sample.root)|string|short }}</bdi></td>
<td><bdi>{{ sample.root|short }}</bdi></td></tr>
{% endfor %}
</table>
{% endif %}
{% endfor %}
</body>
</html>
"""
