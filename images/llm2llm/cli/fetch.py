"""`llm2llm fetch` and `llm2llm export`: bring the student and its training rows out of a run's store."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llm2llm.cli.results import Endpoint, Index, Run, reading
from llm2llm.cli.start import describe_missing, missing_modules
from llm2llm.errors import ExitCode


class Precision(StrEnum):
    """How exact the weights of a merged model are."""

    AUTO = "Auto"
    FP32 = "fp32"
    BF16 = "bf16"


def fetch(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="New folder for the adapter or model.", show_default=False)],
    iteration: Index = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Write a complete model: the adapter merged into its base model.")
    ] = False,
    precision: Annotated[
        Precision, typer.Option(help="Precision of a merged model; Auto is bf16 if the base model has 16 bits.")
    ] = Precision.AUTO,
    endpoint: Endpoint = "",
) -> None:
    """Copy the best student of a run into a folder, and compare every file with its hash.

    An adapter is loaded on its base model by peft or vLLM; a merged one (--merged) is a model like any other. Merged in
    fp32 it gives the answers that it was scored by; in bf16 a few may differ.

    Example: llm2llm fetch run.yaml ./adapter
    """
    from llm2llm.local.fetch import fetch_merged, fetch_student
    from llm2llm.local.targets import the_run

    if merged and (missing := missing_modules()):
        print(describe_missing(missing), file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_CONFIGURATION)
    with reading():
        found = the_run(run, endpoint, os.environ)
        if merged:
            print(f"{folder}: {fetch_merged(found, folder, iteration, precision.value, os.environ)}")
        else:
            print(f"{folder}: {fetch_student(found, folder, iteration)}")


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
