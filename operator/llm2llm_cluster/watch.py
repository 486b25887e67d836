"""`llm2llm watch`: shows a run on a cluster as it goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from llm2llm.cli.results import reading
from llm2llm.plaintext import plain
from llm2llm_cluster.options import Context, Name, Namespace, open_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from llm2llm_cluster.view import View


def watch(name: Name, namespace: Namespace = None, context: Context = None) -> None:
    """Follow a run live until it has ended: exits with 0 if it succeeded, 1 if it failed.

    What it does or waits for, its iterations, and how far its step is, from the log of the running pod. Without a
    terminal it prints a line for each change. Without permission to read logs, the rest is still shown.

    Example: llm2llm watch tickets -n ml
    """
    with reading():
        raise typer.Exit(watch_run(open_cluster(context, namespace), name))


def watch_run(cluster: Any, name: str) -> int:
    """Shows a run until it has ended; returns the exit code.

    Raises:
        ConfigurationError: there is no such run, it was deleted, or it may not be read.
        StepError: the API server cannot be asked from the beginning.
    """
    from llm2llm.errors import ConfigurationError
    from llm2llm_cluster.follow import Gone, Refused, follow_run
    from llm2llm_cluster.view import View
    from llm2llm_cluster.words import explain

    view = View(cluster.get(name))
    updates = follow_run(cluster, view.run)
    with _shown() as show:
        show(view)
        while not view.ended:
            update = next(updates)
            if isinstance(update, Gone):
                raise ConfigurationError(f"{name} was deleted")
            if isinstance(update, Refused):
                raise update.error
            view.take(update)
            show(view)
    updates.close()
    for sentence in list(explain(view.run))[1:]:  # the first is shown
        print(sentence)
    return 0 if view.phase == "Succeeded" else 1


@contextmanager
def _shown() -> Iterator[Callable[[View], None]]:
    """Yields what shows a view: on a terminal in place, elsewhere as a line for each change."""
    if not sys.stdout.isatty():
        yield _print_news
        return
    from rich.live import Live

    with Live(refresh_per_second=4) as live:
        yield lambda view: live.update(_screen(view))


def _print_news(view: View) -> None:
    for line in view.news():
        print(line, flush=True)


def _screen(view: View) -> RenderableType:
    """Returns what a terminal shows."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from llm2llm_cluster.words import headline, iteration_rows

    parts: list[RenderableType] = [Text(headline(view.run))]
    rows = iteration_rows(view.run)
    if rows:
        table = Table()
        for column in rows[0]:
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(*(plain(str(value)) for value in row.values()))
        parts.append(table)
    parts += [Text(plain(line)) for line in (view.pod, view.progress_line, view.notice) if line]
    return Group(*parts)
