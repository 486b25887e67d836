"""Prints the tables of runs from their manifests, and writes their pages anew (`llm2llm report`)."""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from llm2llm.artifacts.iterations import committed_iterations
from llm2llm.errors import ConfigurationError, ExitCode, StepError
from llm2llm.local.display import IterationView, iteration_table
from llm2llm.report.collect import Contents, collect
from llm2llm.report.page import render
from llm2llm.report.summary import verdict
from llm2llm.report.views import PAGE, write_report
from llm2llm.results.targets import NamedRun, named_runs
from llm2llm.storage import Store


def print_reports(target: str, endpoint: str, environ: Mapping[str, str], *, open_page: bool = False) -> int:
    """Prints each run that `target` names, and rewrites its page; returns the exit code of the command.

    Raises:
        ConfigurationError: there is no run.
        InvalidManifest: a file is no run.
        StepError: the store cannot be read.
    """
    runs = [run for run in named_runs(target, endpoint, environ) if run.document or run.record or run.problem]
    if not runs:
        raise ConfigurationError(f"{target}: no runs found; create one with `llm2llm run --workdir {target}`")
    codes = [_print_report(run, open_page=open_page) for run in runs]
    return max(codes)


def _print_report(run: NamedRun, *, open_page: bool) -> int:
    try:
        view = run.view()
        metric = view.spec.objective.metric
        committed = list(committed_iterations(run.store))
        table = iteration_table(_iterations(run.store, metric), metric)
        table.title = f"{view.namespace}/{view.run}"
        Console().print(table)
        if not committed:
            print("No iteration has been trained yet, so there is no page about this run.")
            return ExitCode.DONE
        contents = collect(view, run.store, committed)
        print(verdict(contents))
        return _write_page(run, contents, open_page=open_page)
    except (StepError, ValueError, LookupError) as error:
        print(f"{run.title}: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, StepError) else ExitCode.INCOMPATIBLE


def _write_page(run: NamedRun, contents: Contents, *, open_page: bool) -> int:
    """Writes the page, and opens it: also if the store takes none."""
    page, address, code = render(contents), f"{run.store.uri}/{PAGE}", ExitCode.DONE
    try:
        write_report(contents, page, run.store)
        print(f"report: {address}")
    except StepError as error:
        print(f"{run.title}: the page could not be written: {error}", file=sys.stderr)
        address, code = "", error.exit_code
    if open_page:
        _open(address, page)
    return code


def _open(address: str, page: bytes) -> None:
    """Opens the page in a browser: a copy of one that is in no folder."""
    if not address.startswith("file://"):
        copy = Path(tempfile.mkdtemp(prefix="llm2llm-")) / "index.html"
        copy.write_bytes(page)
        address = copy.as_uri()
    if not webbrowser.open(address):
        print(f"there is no browser to open it: {address}", file=sys.stderr)


def _iterations(store: Store, metric: str) -> dict[int, IterationView]:
    views: dict[int, IterationView] = {}
    for iteration in committed_iterations(store):
        views[iteration.index] = IterationView(iteration.index, metric)
        for manifest in (iteration.train, iteration.evaluate, iteration.generate):
            if manifest:
                views[iteration.index].take(manifest.report)
    return views
