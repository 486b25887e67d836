"""Defines the command line: `llm2llm run`, `step`, `validate`, `report` and `verify`, each in its own file.

Heavy modules are imported only when a command needs them, so `--help` and `validate` answer immediately.
"""

from __future__ import annotations

import typer

from llm2llm.cli.report import report
from llm2llm.cli.run import run
from llm2llm.cli.step import step
from llm2llm.cli.validate import validate
from llm2llm.cli.verify import verify

app = typer.Typer(
    help="LLM2LLM: fine-tune a student model, find its mistakes, let a teacher model write more examples like them, "
    "and repeat.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (run, step, validate, report, verify):
    app.command()(command)


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        app(args=argv, prog_name="llm2llm")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
