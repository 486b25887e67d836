"""`llm2llm refilter`: judges the teacher's recorded answers with other filters, and changes nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from llm2llm.cli.output import Format, Output, print_rows
from llm2llm.cli.results import Endpoint, Run, reading
from llm2llm.plaintext import plain_lines

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Set a filter, e.g. generate.filters.dedup.threshold=0.9."),
]


def refilter(
    run: Run,
    settings: Settings = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Take the filters of this manifest, which is the run's in all else."),
    ] = None,
    rows: Annotated[bool, typer.Option("--rows", help="List the answers whose verdict changes.")] = False,
    output: Output = Format.TABLE,
    endpoint: Endpoint = "",
) -> None:
    """Show which of the teacher's recorded answers other filters would keep, without a request and without a GPU.

    Nothing is written. A new run with these filters, and with this one in spec.reuseFrom, judges the same answers
    without paying for them.

    Example: llm2llm refilter out --set generate.filters.dedup.threshold=0.9 --rows
    """
    from llm2llm.errors import ConfigurationError
    from llm2llm.manifests.documents import read_documents
    from llm2llm.results import refilter as words
    from llm2llm.results.targets import the_run
    from llm2llm.stages.refilter import refilter_run

    with reading():
        found = the_run(run, endpoint, os.environ)
        spec = found.view().spec
        manifest = read_documents([file]).the_run() if file else None
        filters = words.filters_of(spec, words.record_of(found, spec), manifest, settings or [])
        rounds = list(refilter_run(spec, found.store, filters))
        if not rounds:
            raise ConfigurationError(f"{found.title}: the teacher has written nothing in this run yet")
        for sentence in words.warnings(rounds):
            print(plain_lines(sentence), file=sys.stderr)
        if rows:
            print_rows(words.changed_rows(rounds), output, "No verdict changes.", words.ROWS)
        elif output is Format.JSON:
            print(json.dumps(words.records(rounds), indent=2))
        else:
            print_rows(words.summary_rows(rounds), output, "")
        if output is Format.TABLE:
            for sentence in words.notes(rounds, filters):
                print(plain_lines(sentence))
