"""`llm2llm fetch` and `llm2llm export`: bring the student and its training rows out of a run's store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from llm2llm.cli.results import Endpoint, Index, Run, reading


def fetch(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="New folder for the adapter or model.", show_default=False)],
    iteration: Index = None,
    endpoint: Endpoint = "",
) -> None:
    """Copy the best student of a run into a folder, and compare every file with its hash.

    Example: llm2llm fetch run.yaml ./adapter
    """
    from llm2llm.local.fetch import fetch_student
    from llm2llm.local.targets import the_run

    with reading():
        digest = fetch_student(the_run(run, endpoint, os.environ), folder, iteration)
        print(f"{folder}: {digest}")


def export(
    run: Run,
    file: Annotated[Path, typer.Argument(help="New file for the rows, as JSON lines.", show_default=False)],
    iteration: Index = None,
    endpoint: Endpoint = "",
) -> None:
    """Write the rows that the best student was trained on: the seed rows, and those that the teacher wrote.

    Example: llm2llm export out dataset.jsonl
    """
    from llm2llm.local.fetch import training_rows, write_rows
    from llm2llm.local.targets import the_run

    with reading():
        count = write_rows(training_rows(the_run(run, endpoint, os.environ), iteration), file)
        print(f"{file}: {count:,} rows")
