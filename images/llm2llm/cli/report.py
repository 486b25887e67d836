"""`llm2llm report`: shows the runs in a work folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(workdir: Annotated[Path, typer.Argument(help="Folder that `run --workdir` wrote to.")]) -> None:
    """Show the iterations of the runs in a work folder."""
    from llm2llm.local.report import print_reports

    raise typer.Exit(print_reports(workdir))
