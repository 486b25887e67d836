"""`llm2llm push`: publishes a student, or the rows that it was trained on, with a card that says what it is."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from llm2llm.cli.fetch import Precision, PrecisionOfMerged
from llm2llm.cli.requirements import describe_missing, missing_modules
from llm2llm.cli.results import Endpoint, Index, reading
from llm2llm.cli.serve import Target
from llm2llm.errors import ExitCode


def push(
    target: Target,
    repository: Annotated[str, typer.Argument(help="Repository to push to: hf://owner/name.", show_default=False)],
    iteration: Index = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Push a complete model: the adapter merged into its base model.")
    ] = False,
    precision: PrecisionOfMerged = Precision.AUTO,
    dataset: Annotated[
        bool, typer.Option("--dataset", help="Push the rows that the student was trained on, to a dataset instead.")
    ] = False,
    dry_run: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write what would be pushed to a new folder, and send nothing."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; it is private if not.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also commit to a repository that has files of something else.")
    ] = False,
    endpoint: Endpoint = "",
) -> None:
    """Push the best student to the Hugging Face Hub, with a card: scores, training rows, cost, and how to load it.

    HF_TOKEN has a token that may write, HF_ENDPOINT another server. A repository that exists gets one more commit; its
    history keeps what it had.

    Example: llm2llm push out hf://my-team/tickets --dry-run ./student
    """
    from llm2llm.loop.outcomes import describe_iteration
    from llm2llm.results.fetch import fetch_dataset, fetch_merged, fetch_student
    from llm2llm.results.push import push_folder, repository_of
    from llm2llm.results.student import find_student

    kind: Literal["model", "dataset"] = "dataset" if dataset else "model"
    if missing := missing_modules() if merged else missing_modules(("huggingface_hub",)):
        print(describe_missing(missing), file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_CONFIGURATION)
    with reading():
        place = None if dry_run and repository.startswith("oci://") else repository_of(repository, kind)
        student = find_student(target, iteration, endpoint, os.environ)
        record, run = student.record, student.run
        _refuse_options(run is None, merged=merged, dataset=dataset, dry_run=dry_run is not None, target=target)
        scratch = nullcontext() if dry_run or not run else TemporaryDirectory(prefix="llm2llm-push-")
        with scratch as temporary:
            folder = dry_run or (Path(temporary, "student") if temporary else Path(target))
            if run and dataset:
                fetch_dataset(run, folder, record.iteration)
            elif run and merged:
                fetch_merged(run, folder, record.iteration, precision.value, os.environ)
            elif run:
                fetch_student(run, folder, record.iteration)
            if dry_run:
                print(f"{folder}: what would be pushed to {repository}; nothing was sent")
            elif place:
                message = f"{record.run}, {describe_iteration(record.iteration)} ({record.digest})"
                print(push_folder(folder, place, os.environ, message=message, force=force, public=public))


def _refuse_options(fetched: bool, *, merged: bool, dataset: bool, dry_run: bool, target: str) -> None:
    """Ends the command if it asks of a folder what only a run has."""
    from llm2llm.errors import ConfigurationError

    if merged and dataset:
        raise ConfigurationError("--merged is about a student, and --dataset pushes rows: leave one out")
    names = {"--merged": merged, "--dataset": dataset, "--dry-run": dry_run}
    if fetched and (asked := [name for name, given in names.items() if given]):
        raise ConfigurationError(f"{target} is a folder that is pushed as it is: {asked[0]} is for a run")
