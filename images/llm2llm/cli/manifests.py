"""Shared parts of the commands that read manifests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llm2llm.errors import ExitCode, InvalidManifest

Paths = Annotated[list[Path], typer.Argument(help="Manifest files, or folders that contain them.", show_default=False)]


def print_problems(error: InvalidManifest) -> typer.Exit:
    """Prints every problem of a manifest; returns the exception that ends the command."""
    for problem in error.problems:
        print(problem, file=sys.stderr)
    return typer.Exit(ExitCode.BAD_CONFIGURATION)
