"""Draws the plots of the report as SVG, by matplotlib, for a page that has a light and a dark side.

matplotlib draws in placeholder colors, which become CSS variables of the page (svg.py). No text is interpreted: a `$`
is a `$`.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from llm2llm.loop.outcomes import CLOSING
from llm2llm.plaintext import plain
from llm2llm.report.collect import Contents, Iteration
from llm2llm.report.svg import for_page

_FEWEST = 2
"""Iterations from which on plots show more than the table does."""
_LABEL_LIMIT = 24
_WIDTH, _HEIGHT = 5.2, 2.7
"""Inches at 72 pixels."""
_AXES = (0.1, 0.175, 0.885, 0.705)
"""Left, bottom, width and height of the axes: a layout engine would draw everything twice."""
_COLORS = {
    "#010101": "var(--text-2)",
    "#020202": "var(--line)",
    "#030303": "var(--page)",
    "#a1a1a1": "var(--s1)",
    "#a2a2a2": "var(--s2)",
    "#a3a3a3": "var(--s3)",
    "#a4a4a4": "var(--s4)",
    "#a5a5a5": "var(--s5)",
    "#a6a6a6": "var(--s6)",
}
"""Placeholder that matplotlib draws with to the page's variable."""
_TEXT, _LINE, _PAGE, *_SERIES = _COLORS
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@dataclass(frozen=True)
class Figure:
    """A plot with the words that stand above and below it; `svg` is safe to put into the page as it is."""

    name: str
    title: str
    caption: str
    svg: str


def draw_figures(contents: Contents) -> list[Figure]:
    """Returns the plots that the run has data for; an iteration alone is told better by the table."""
    if len(contents.judged) < _FEWEST:
        return []
    found = (figure for draw in _FIGURES for figure in draw(contents))
    return list(found)


def _score(contents: Contents) -> Iterable[Figure]:
    judged = [(each, each.judged) for each in contents.judged if each.judged]
    metric = judged[-1][1]
    goal = contents.spec.objective.goal

    def plot(axes: Any) -> None:
        values = [score.value for _, score in judged]
        low = [score.value - score.low for _, score in judged]
        high = [score.high - score.value for _, score in judged]
        places = range(len(judged))
        axes.errorbar(places, values, yerr=[low, high], color=_SERIES[0], linewidth=2, marker="o", markersize=5,
                      elinewidth=5, ecolor=_SERIES[0] + "55", capsize=0)  # fmt: skip
        if goal is not None:
            axes.axhline(float(goal), color=_SERIES[2], linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate(f"goal {goal}", (0, float(goal)), xycoords=("axes fraction", "data"), xytext=(2, 3),
                          textcoords="offset points", color=_SERIES[2])  # fmt: skip
        _name_places(axes, [each for each, _ in judged])

    yield _figure(
        "score",
        f"Score by iteration: {metric.name}",
        f"With 95 % intervals, on {metric.examples:,} {metric.dataset} rows. The axis does not begin at 0.",
        plot,
    )


def _mistakes(contents: Contents) -> Iterable[Figure]:
    evaluated = [each for each in contents.iterations if each.evaluate]
    yield _bars(
        "mistakes",
        "Mistakes the teacher writes for",
        "Rows of the pool that the student of this iteration got wrong.",
        evaluated,
        {"mistakes": [each.evaluate.mistakes if each.evaluate else 0 for each in evaluated]},
    )


def _training_rows(contents: Contents) -> Iterable[Figure]:
    rounds = list(accumulate((len(each.kept) for each in contents.iterations), initial=0))
    rows = [each.train.train_examples for each in contents.iterations]
    written = [min(rounds[place], rows[place]) for place in range(len(rows))]
    yield _bars(
        "rows",
        "Training rows",
        "What each student was trained on.",
        contents.iterations,
        {
            "seed": [all_ - synthetic for all_, synthetic in zip(rows, written, strict=True)],
            "from the teacher": written,
        },
    )


def _answers(contents: Contents) -> Iterable[Figure]:
    rounds = [each for each in contents.iterations if each.generate]
    if not rounds:
        return
    reasons = list(dict.fromkeys(reason for each in rounds for reason in each.reasons))
    shown, rest = reasons[: len(_SERIES) - 2], reasons[len(_SERIES) - 2 :]
    series = {"kept": [len(each.kept) for each in rounds]}
    series |= {reason: [each.reasons.get(reason, 0) for each in rounds] for reason in shown}
    if rest:
        series["others"] = [sum(each.reasons.get(reason, 0) for reason in rest) for each in rounds]
    yield _bars(
        "answers", "What the teacher wrote", "Rows that the filters kept, and those rejected by reason.", rounds, series
    )


def _tokens(contents: Contents) -> Iterable[Figure]:
    rounds = [each for each in contents.iterations if each.generate]
    if not rounds:
        return
    usages = [each.generate.usage for each in rounds if each.generate]
    yield _bars(
        "tokens",
        "Teacher tokens",
        "What each round sent and received, which is what a teacher charges for.",
        rounds,
        {
            "sent": [each.teacher_input_tokens for each in usages],
            "written": [each.teacher_output_tokens for each in usages],
        },
    )


def _losses(contents: Contents) -> Iterable[Figure]:
    trained = [each for each in contents.iterations if len(each.losses) > 1]
    if not trained:
        return
    shown = trained if len(trained) <= len(_SERIES) else [trained[0], *trained[1 - len(_SERIES) :]]

    def plot(axes: Any) -> None:
        for color, each in zip(_SERIES, shown, strict=False):
            steps, values = zip(*each.losses, strict=True)
            axes.plot(steps, values, color=color, linewidth=1.5, label=each.name)
        axes.set_xlabel("optimizer step")
        _legend(axes, len(shown))

    yield _figure("loss", "Training loss", "Mean loss per token, by iteration, from the logs.", plot)


def _time(contents: Contents) -> Iterable[Figure]:
    stages = ("train", "evaluate", "generate")
    seconds = {
        name: [sum(report.seconds.values()) if (report := getattr(each, name)) else 0.0 for each in contents.iterations]
        for name in stages
    }
    if any(sum(values) for values in seconds.values()):
        yield _bars(
            "time",
            "Where the time went",
            "Seconds of work in the attempts that ended the steps; waiting for a node is not in it.",
            contents.iterations,
            seconds,
        )


_FIGURES: Sequence[Callable[[Contents], Iterable[Figure]]] = (
    _score,
    _mistakes,
    _training_rows,
    _answers,
    _tokens,
    _losses,
    _time,
)


def _bars(
    name: str, title: str, caption: str, iterations: Sequence[Iteration], series: Mapping[str, Sequence[float]]
) -> Figure:
    def plot(axes: Any) -> None:
        floor = [0.0] * len(iterations)
        for color, (label, values) in zip(_SERIES, series.items(), strict=False):
            axes.bar(range(len(iterations)), values, bottom=floor, width=0.62, color=color, label=_label(label),
                     edgecolor=_PAGE, linewidth=1)  # fmt: skip
            floor = [low + value for low, value in zip(floor, values, strict=True)]
        if len(series) == 1:
            for place, value in enumerate(floor):
                axes.annotate(f"{value:,.0f}", (place, value), xytext=(0, 2), textcoords="offset points", ha="center")
        else:
            _legend(axes, len(series))
        _name_places(axes, iterations)
        axes.set_ylim(0, max(*floor, 1) * 1.12)

    return _figure(name, title, caption, plot)


def _label(text: str) -> str:
    """Returns a name that others chose as matplotlib and XML can take it: short, without control characters."""
    return plain(text)[:_LABEL_LIMIT]


def _legend(axes: Any, entries: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(entries, 4), borderaxespad=0, handlelength=1.2)


def _name_places(axes: Any, iterations: Sequence[Iteration]) -> None:
    names = ["closing" if each.index >= CLOSING else each.name for each in iterations]
    stride = -(-len(names) // 16)
    axes.set_xticks(range(0, len(names), stride), names[::stride])
    axes.set_xlabel("iteration")


def _figure(name: str, title: str, caption: str, plot: Callable[[Any], None]) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # the page's reader has the fonts
    text = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that the measuring font lacks
        axes = (canvas := Canvas(figsize=(_WIDTH, _HEIGHT))).add_axes(_AXES)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        plot(axes)
        axes.yaxis.set_major_formatter(_short_number)
        canvas.savefig(text, format="svg", metadata={"Date": None})
    return Figure(name, title, caption, for_page(text.getvalue(), name, title, _COLORS))


def _short_number(value: float, _: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"
