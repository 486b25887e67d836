"""`llm2llm report`: shows how runs went, and writes their page anew."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from llm2llm.cli.results import Endpoint, Run, reading


def report(
    run: Run,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    endpoint: Endpoint = "",
) -> None:
    """Show the iterations of each run in a folder, and rewrite its report page (report/index.html).

    Example: llm2llm report out --open
    """
    from llm2llm.results.report import print_reports

    with reading():
        raise typer.Exit(print_reports(run, endpoint, os.environ, open_page=open_page))
