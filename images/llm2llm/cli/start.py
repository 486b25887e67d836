"""Starts the command line, and says what to install where a library is missing."""

from __future__ import annotations

import sys

from llm2llm.cli.requirements import describe_missing
from llm2llm.errors import ExitCode


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        from llm2llm.cli.main import main as run_command_line

        return run_command_line(argv)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "llm2llm"):
            raise
        print(describe_missing([str(error.name).partition(".")[0]]), file=sys.stderr)
        return ExitCode.BAD_CONFIGURATION
