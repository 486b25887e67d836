"""`llm2llm fetch` and `llm2llm export`: bring the student and its training rows out of a run's store."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llm2llm.cli.requirements import describe_missing, missing_modules
from llm2llm.cli.results import Endpoint, Index, Run, reading
from llm2llm.errors import ExitCode


class Precision(StrEnum):
    """How exact the weights of a merged model are."""

    AUTO = "Auto"
    FP32 = "fp32"
    BF16 = "bf16"


class AnsweredSet(StrEnum):
    """A set of rows that students answer."""

    SEED = "seed"
    PROBE = "probe"
    SYNTHETIC = "synthetic"
    EVALUATION = "evaluation"
    TEST = "test"


PrecisionOfMerged = Annotated[
    Precision, typer.Option(help="Precision of a merged model; Auto is bf16 if the base model has 16 bits.")
]


def fetch(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="New folder for the adapter or model.", show_default=False)],
    iteration: Index = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Write a complete model: the adapter merged into its base model.")
    ] = False,
    precision: PrecisionOfMerged = Precision.AUTO,
    endpoint: Endpoint = "",
) -> None:
    """Copy the best student of a run into a folder, and verify every file's hash.

    An adapter is loaded on its base model by peft or vLLM; a merged one (--merged) is a model like any other. Merged in
    fp32 it gives the answers that it was scored by; in bf16 a few may differ. The folder also says how to ask it
    (llm2llm.json, which serve and push read) and what it is (README.md, a model card).

    Example: llm2llm fetch run.yaml ./adapter
    """
    from llm2llm.results.fetch import fetch_merged, fetch_student
    from llm2llm.results.targets import the_run

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
    predictions: Annotated[
        bool,
        typer.Option("--predictions", help="Write the rows that the student was asked, with its answers, instead."),
    ] = False,
    dataset: Annotated[
        AnsweredSet | None,
        typer.Option("--set", help="Only answers to rows of this set; with --predictions.", show_default=False),
    ] = None,
    endpoint: Endpoint = "",
) -> None:
    """Write the rows that the best student was trained on, or with --predictions those that it answered.

    A row for training says whether it is a seed row or a teacher wrote it. A prediction has the row's fields, its right
    answer (label), the student's answer, what the grader extracted from it, the verdict, the iteration, and the line in
    your file, if that is here and unchanged.

    Example: llm2llm export out answers.jsonl --predictions --set evaluation
    """
    from llm2llm.errors import ConfigurationError
    from llm2llm.results.fetch import training_rows, write_rows
    from llm2llm.results.predictions import prediction_rows
    from llm2llm.results.targets import the_run

    with reading():
        if dataset and not predictions:
            raise ConfigurationError("--set chooses answers: add --predictions")
        found = the_run(run, endpoint, os.environ)
        if predictions:
            rows = prediction_rows(found, iteration, dataset and dataset.value, os.environ)
        else:
            rows = training_rows(found, iteration)
        print(f"{file}: {write_rows(rows, file):,} rows")
