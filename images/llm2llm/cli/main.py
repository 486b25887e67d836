"""Defines the command line: each command, or group of commands, has its own file.

Heavy modules are imported only when a command needs them, so `--help` and `validate` answer immediately.
"""

from __future__ import annotations

import io
import sys
from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from llm2llm.cli.fetch import export, fetch
from llm2llm.cli.init import init
from llm2llm.cli.preview import preview
from llm2llm.cli.push import push
from llm2llm.cli.refilter import refilter
from llm2llm.cli.report import report
from llm2llm.cli.results import compare, mistakes, samples, suspects
from llm2llm.cli.run import check, run
from llm2llm.cli.serve import serve
from llm2llm.cli.step import step
from llm2llm.cli.validate import validate
from llm2llm.cli.verify import verify

app = typer.Typer(
    help="LLM2LLM: fine-tune a student model, find its mistakes, let a teacher model write more examples like them, "
    "and repeat.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"llm2llm {version('llm2llm-operator')}")
        raise typer.Exit


for command in (
    init, validate, check, preview, run, report, mistakes, samples, refilter, suspects, compare, fetch, export,
    push, serve, verify, step,
):  # fmt: skip
    app.command()(command)
for entry_point in entry_points(group="llm2llm.commands"):
    # those for runs on a cluster, which are not part of the data plane
    for command in entry_point.load()():
        app.command()(command)


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot encode becomes a question mark
            stream.reconfigure(errors="replace")
    try:
        app(args=argv, prog_name="llm2llm")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
