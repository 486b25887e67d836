"""`llm2llm mistakes`, `samples`, `suspects` and `compare`: show what a run's students and teacher did, row by row."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from llm2llm.cli.manifests import print_problems
from llm2llm.cli.output import Format, Output, print_rows
from llm2llm.errors import InvalidManifest, StepError
from llm2llm.plaintext import plain_lines

if TYPE_CHECKING:
    from llm2llm.report.collect import Contents


class Dataset(StrEnum):
    """A set of rows that students answer."""

    SEED = "seed"
    PROBE = "probe"
    EVALUATION = "evaluation"


Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A work folder of `llm2llm run`, the root of a run (status.artifactsUri), a file with the run as `kubectl "
        "get arun NAME -o yaml` prints it, or the [NAMESPACE/]NAME of a run on a cluster.",
        show_default=False,
    ),
]
Endpoint = Annotated[str, typer.Option(help="URL of an S3 server other than AWS.")]
Index = Annotated[int | None, typer.Option("--iteration", "-i", help="Number of an iteration.", show_default=False)]


def mistakes(
    run: Run,
    iteration: Index = None,
    label: Annotated[str | None, typer.Option(help="Only rows with this right answer.", show_default=False)] = None,
    dataset: Annotated[Dataset | None, typer.Option("--set", help="Only rows of this set.", show_default=False)] = None,
    output: Output = Format.TABLE,
    endpoint: Endpoint = "",
) -> None:
    """Show the rows that a student answered wrongly; by default, that of the best iteration.

    Example: llm2llm mistakes out -i 2 --set evaluation -o csv > mistakes.csv
    """
    from llm2llm.results import views

    with reading():
        contents = contents_of(run, endpoint)
        asked = views.iteration_named(contents, iteration)
        rows = views.mistakes(contents, asked, label, dataset)
        columns = views.columns_of(contents, views.MISTAKES)
        print_rows(rows, output, f"Iteration {asked.name} made no such mistakes.", columns)


def samples(
    run: Run,
    iteration: Index = None,
    rejected: Annotated[bool, typer.Option(help="Show what the filters rejected, and why.")] = False,
    output: Output = Format.TABLE,
    endpoint: Endpoint = "",
) -> None:
    """Show the rows that the teacher wrote, in all iterations or in one.

    Example: llm2llm samples out -i 1 --rejected
    """
    from llm2llm.results import views

    with reading():
        contents = contents_of(run, endpoint)
        rows = views.samples(contents, iteration, rejected=rejected)
        columns = views.columns_of(contents, views.REJECTED if rejected else views.KEPT)
        print_rows(rows, output, f"The teacher wrote no rows that were {'rejected' if rejected else 'kept'}.", columns)


def suspects(run: Run, output: Output = Format.TABLE, endpoint: Endpoint = "") -> None:
    """Show the seed rows that three or more iterations got wrong: check their labels first.

    Example: llm2llm suspects out -o json
    """
    from llm2llm.results import views

    with reading():
        contents = contents_of(run, endpoint)
        rows = list(views.suspects(contents.seeds))
        columns = views.columns_of(contents, views.SUSPECTS)
        print_rows(rows, output, "No seed row was wrong in three or more iterations.", columns)


def compare(
    first: Run,
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another run.", show_default=False)],
    output: Output = Format.TABLE,
    endpoint: Endpoint = "",
) -> None:
    """Compare the best iterations of two runs, row by row, on the evaluation rows that both answered.

    Example: llm2llm compare out/targeted out/untargeted
    """
    from llm2llm.results import views

    with reading():
        one, other = contents_of(first, endpoint), contents_of(second, endpoint)
        comparison = views.compare_runs(one, other)
        print_rows(views.comparison_rows(one, other, comparison), output, "")
        if output is Format.TABLE:
            print("\n" + plain_lines(comparison.verdict("the first", "the second")))


def contents_of(run: str, endpoint: str) -> Contents:
    """Returns what the store has of the run that a command line names.

    Raises:
        StepError: there is no such run, or it or its rows cannot be read.
        InvalidManifest: a file is no run.
    """
    from llm2llm.report.collect import collect
    from llm2llm.results.targets import the_run
    from llm2llm.results.views import check_inputs

    found = the_run(run, endpoint, os.environ)
    contents = collect(found.view(), found.store, everything=True)
    check_inputs(contents)
    return contents


@contextmanager
def reading() -> Iterator[None]:
    """Ends the command with the message of what cannot be read."""
    try:
        yield
    except InvalidManifest as error:
        raise print_problems(error) from None
    except StepError as error:
        print(plain_lines(error.message), file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
