"""Renders `report/index.html`: a run on one page that can be opened anywhere and loads nothing.

Rows, answers and rejections come from users, a teacher and a student, so they are untrusted data. Jinja escapes every
value, the rows for the script are JSON without a `<`, which the script shows as text alone, and the page's content
security policy allows only the style and the script whose hashes it names. `bdi` keeps text of another direction from
reordering the text next to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from llm2llm.kubeyaml import dump
from llm2llm.loop.stages import step_label
from llm2llm.records import Report
from llm2llm.report import summary
from llm2llm.report.classes import classes_of
from llm2llm.report.collect import Contents
from llm2llm.report.figures import draw_figures
from llm2llm.report.rows import ShownRows, choose_rows
from llm2llm.runtime.redaction import without_secrets

_HERE = Path(__file__).parent
TEXT_LIMIT = 400
"""Maximum characters of a text in a table of the page itself."""
SUSPECTS_SHOWN = 50
"""What stands in place of the values of `env` and `extraHeaders`: a page is passed on, and people put keys there."""


@dataclass(frozen=True)
class Tile:
    """A figure that is read from afar, with its name above and a note below."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class StepRow:
    """A step of the run, with the report that ended it."""

    label: str
    report: Report

    @property
    def seconds(self) -> float:
        """Seconds that its last attempt worked."""
        return sum(self.report.seconds.values())


def render(contents: Contents) -> bytes:
    """Renders the page in UTF-8; what UTF-8 cannot encode (half of a surrogate pair) becomes a question mark."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"short": _short, "score": summary.share}
    style, script = (_HERE.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    rows = choose_rows(contents)
    suspects = sorted((seed for seed in contents.seeds if seed.suspect), key=lambda seed: -len(seed.wrong))
    template = environment.from_string(_HERE.joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        contents=contents,
        verdict=summary.verdict(contents),
        ending=summary.ending(contents),
        warnings=summary.warnings(contents),
        tiles=list(_tiles(contents)),
        facts=list(_facts(contents)),
        figures=draw_figures(contents),
        classes=classes_of(contents),
        learned=Counter(index for seed in contents.seeds for index in seed.learned),
        forgotten=Counter(index for seed in contents.seeds for index in seed.forgotten),
        suspects=suspects[:SUSPECTS_SHOWN],
        suspect_count=len(suspects),
        usage=summary.usage(contents.iterations),
        steps=list(_steps(contents)),
        omitted=rows.omitted,
        manifest=manifest_of(contents),
        rows=_embedded(rows),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
    ).encode("utf-8", "replace")


def manifest_of(contents: Contents) -> str:
    """Returns a manifest that repeats the run, without the values that people put secrets into."""
    namespace, _, name = contents.run.rpartition("/")
    spec = contents.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    document = {
        "apiVersion": "llm2llm.dev/v1alpha1",
        "kind": "AugmentationRun",
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "spec": without_secrets(spec),
    }
    return dump(document)


def _tiles(contents: Contents) -> Iterator[Tile]:
    best = contents.best
    if best:
        score = best.metric
        yield Tile(score.name, summary.share(score.value), f"{summary.share(score.low)} to {summary.share(score.high)}")
    gain = summary.gain(contents)
    if gain:
        paired = gain.paired
        yield Tile(
            "against iteration 0",
            f"+{paired.gained} −{paired.lost}",  # noqa: RUF001 - the sign
            f"rows gained and lost, {summary.describe_chance(gain.chance)}",
        )
    if contents.test:
        test = contents.test[0]
        yield Tile(f"{test.name} on the test set", summary.share(test.value), f"{test.examples:,} rows")
    kept, rejected = (sum(len(getattr(each, name)) for each in contents.iterations) for name in ("kept", "rejected"))
    if kept or rejected:
        yield Tile("rows from the teacher", f"{kept:,}", f"kept of {kept + rejected:,}")
    usage = summary.usage(contents.iterations)
    tokens = usage.teacher_input_tokens + usage.teacher_output_tokens
    yield Tile("teacher tokens", f"{tokens:,}", f"{usage.teacher_requests:,} requests")
    if price := summary.price(contents):
        yield Tile("cost", price, "teacher and GPUs, in the currency of the prices")
    if hours := summary.gpu_hours(contents):
        yield Tile("GPU hours", hours, "before the newest step")
    yield Tile("work", summary.duration(summary.work_seconds(contents)), "of all steps, without waiting")


def _facts(contents: Contents) -> Iterator[tuple[str, str]]:
    spec, resolved = contents.spec, contents.inputs.resolved if contents.inputs else None
    revision = (
        f" at {resolved.model_revision.removeprefix('sha256:')[:12]}" if resolved and resolved.model_revision else ""
    )
    yield "student", f"{spec.student.model.uri}{revision}"
    yield "training", spec.train.method
    yield "teacher", f"{spec.generate.teacher.model} ({spec.generate.mode})"
    yield "strategy", f"{spec.generate.strategy}, mistakes from {spec.errors_from}"
    if resolved:
        counts = (
            ("seed", resolved.seed_count),
            ("evaluation", resolved.evaluation_count),
            ("test", resolved.test_count),
        )
        yield "data", ", ".join(f"{count:,} {name}" for name, count in counts if count) + " rows"
    if contents.best:
        yield "best student", contents.best.model_uri
        yield "its digest", contents.best.digest
    yield "artifacts", contents.uri


def _steps(contents: Contents) -> Iterator[StepRow]:
    if contents.inputs:
        yield StepRow("prepare", contents.inputs)
    for iteration in contents.iterations:
        for report in (iteration.train, iteration.evaluate, iteration.generate):
            if report:
                yield StepRow(step_label(report.stage, iteration.index), report)


def _embedded(rows: ShownRows) -> str:
    """Returns JSON that cannot end the element that it stands in."""
    document: dict[str, Sequence[Any]] = {"answered": rows.answered, "written": rows.written}
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]} ... ({len(text)} characters)"
