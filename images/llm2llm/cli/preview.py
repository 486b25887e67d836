"""`llm2llm preview`: shows what a run sends and receives for a few rows, and keeps none of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm2llm.cli.manifests import Paths
from llm2llm.cli.output import Format, Output, print_rows
from llm2llm.cli.run import Secrets, Settings, for_one_try, load_run, run_steps
from llm2llm.plaintext import plain_lines

if TYPE_CHECKING:
    from llm2llm.api.policy import Prices
    from llm2llm.records import Report, Usage
    from llm2llm.runtime.context import Step, StepContext
    from llm2llm.stages.preview import PreviewedRow
    from llm2llm.storage import Store

_MOST = 100
"""Rows at once: who wants more of them wants a run."""


def preview(
    files: Paths,
    number: Annotated[int, typer.Option("--rows", "-n", min=1, max=_MOST, help="Number of seed rows.")] = 3,
    settings: Settings = None,
    secrets: Secrets = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the prompts, the requests to the teacher, and the rows that it writes, for a few seed rows.

    It does what `check` does first, then requests one row for each. Nothing is kept, and none of it enters the run.

    Example: llm2llm preview run.yaml -n 5 --secret teacher/api-key=TEACHER_API_KEY
    """
    rows: list[PreviewedRow] = []

    def execute(step: Step, store: Store, context: StepContext) -> Report:
        from llm2llm.stages.preview import preview_rows
        from llm2llm.step import run_step

        report = run_step(step, store, context)
        rows.extend(preview_rows(step, store, context, number))
        return report

    with TemporaryDirectory(prefix="llm2llm-preview-") as folder:
        changes = for_one_try(settings, Path(folder))
        with load_run(files, changes, secrets or []) as (local_run, all_secrets, environ):
            with redirect_stdout(sys.stderr):  # what Prepare tells is not the result
                code = run_steps(local_run, all_secrets, environ, changes, "", alone=True, execute=execute)
            if code:
                raise typer.Exit(code)
    if output is Format.TABLE:
        print("\n".join(_lines(rows, local_run.spec.budget.prices)))
    else:
        print_rows([_record(row) for row in rows], output, "")


def _record(row: PreviewedRow) -> dict[str, Any]:
    """Returns a row for programs: one level deep, as CSV has it."""
    record: dict[str, Any] = {
        "seed": row.example.id,
        "completion": row.example.completion,
        "prompt": row.prompt,
        "promptTokens": row.prompt_tokens,
        "completionTokens": row.completion_tokens,
        "messages": json.dumps(list(row.messages), ensure_ascii=False),
    }
    if row.written is not None:
        verdict, usage = row.written.verdict, row.written.usage
        record |= {
            "teacher": row.written.text,
            "verdict": verdict.reason or "kept",
            "detail": verdict.detail,
            "inputTokens": usage.teacher_input_tokens,
            "outputTokens": usage.teacher_output_tokens,
        }
    return record


def _lines(rows: Sequence[PreviewedRow], prices: Prices | None) -> Iterator[str]:
    """Yields what people read."""
    for row in rows:
        yield f"--- {row.example.id}: {plain_lines(row.example.completion)}"
        yield f"the student reads {row.prompt_tokens} tokens, and is to answer with {row.completion_tokens}:"
        yield _indented(row.prompt)
        for message in row.messages:
            yield f"the teacher reads ({message['role']}):"
            yield _indented(message["content"])
        if row.written is not None:
            verdict = row.written.verdict
            fate = "kept" if verdict.kept else f"rejected, {verdict.reason}: {plain_lines(verdict.detail)}"
            yield f"the teacher writes ({fate}; {_cost(row.written.usage, prices)}):"
            yield _indented(row.written.text)
        yield ""
    yield _verdict(rows, prices)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in plain_lines(text).splitlines()) or "    (nothing)"


def _verdict(rows: Sequence[PreviewedRow], prices: Prices | None) -> str:
    from llm2llm.records import total_usage

    written = [row.written for row in rows if row.written is not None]
    if not written:
        return (
            "The teacher was not asked: it is loaded by a run's own step, or no round is planned (spec.maxIterations)."
        )
    kept, usage = sum(one.verdict.kept for one in written), total_usage(*(one.usage for one in written))
    each = f", {_cost(usage, prices, kept)} for each kept row" if kept else ""
    return (
        f"kept {kept} of {len(written)} rows: {_cost(usage, prices)}{each}. "
        "In a run the teacher is also told the student's wrong answer."
    )


def _cost(usage: Usage, prices: Prices | None, rows: int = 1) -> str:
    """Describes a cost divided by a number of rows, in tokens and, if there are prices, in money."""
    from llm2llm.budget import Spent, cost

    tokens = f"{round(Spent(usage).tokens / rows):,} tokens"
    return (
        tokens if prices is None else f"{tokens}, {(cost(Spent(usage), prices) / rows).quantize(Decimal('0.000001'))}"
    )
