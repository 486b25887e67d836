"""`llm2llm bundle`: writes a support archive about a run on a cluster, or about one in a folder or bucket."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm2llm.cli.output import Format, Output, print_rows
from llm2llm.cli.results import Endpoint, reading
from llm2llm.plaintext import plain
from llm2llm_cluster.options import Context, Namespace, open_cluster

if TYPE_CHECKING:
    from llm2llm.results.bundle import Bundle, Written


def bundle(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A work folder of `llm2llm run`, the root of a run (status.artifactsUri), or, where there is no such "
            "folder, the name of an AugmentationRun on a cluster.",
            show_default=False,
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="The archive; if not set, RUN-bundle.tar.gz.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    output: Output = Format.TABLE,
    endpoint: Endpoint = "",
) -> None:
    """Write a support archive about a run: what is known of it, without rows, weights, and secrets.

    On a cluster: the run, its Jobs, Pods, Events, and Workloads, and the ends of its pods' logs. Of a local run: its
    record, the reports of its steps, and its logs. Values of headers and of variables are left out, and what looks like
    a key is masked; what logs quote of rows stays. Read it before you pass it on.

    Example: llm2llm bundle tickets -n ml
    """
    from llm2llm.results.bundle import write_bundle

    with reading():
        collected = _collect(run, namespace, context, endpoint)
        target = file or Path(f"{collected.name}-bundle.tar.gz")
        written = write_bundle(collected, target, os.environ, datetime.now(UTC), overwrite=force)
        match output:
            case Format.JSON:
                print(json.dumps(_record(written), indent=2))
            case Format.CSV:
                print_rows([{"file": path, "bytes": size} for path, size in written.sizes.items()], output, "")
            case _:
                print("\n".join(map(plain, _describe(written))))


def _collect(run: str, namespace: str | None, context: str | None, endpoint: str) -> Bundle:
    """Returns what is known of a run: of one on a cluster, if there is no folder and no address of that name."""
    from llm2llm.errors import ConfigurationError
    from llm2llm.results.bundle import bundle_of_store
    from llm2llm.results.targets import the_run
    from llm2llm_cluster.collect import collect_run

    if "://" not in run and not Path(run).exists():
        try:
            cluster = open_cluster(context, namespace)
        except ConfigurationError as error:
            raise ConfigurationError(f"there is no folder {run}, and {error.message}") from None
        return collect_run(cluster, run)
    found = the_run(run, endpoint, os.environ)
    name = found.record.name if found.record else found.store.uri.rstrip("/").rpartition("/")[2]
    return bundle_of_store(name, found.store)


def _record(written: Written) -> dict[str, Any]:
    return {
        "archive": str(written.file),
        "files": dict(written.sizes),
        "redacted": dict(written.redacted),
        "notReadable": dict(written.unread),
    }


def _describe(written: Written) -> Iterator[str]:
    from llm2llm.results.bundle import describe_redacted, describe_unread

    for path, size in written.sizes.items():
        yield f"{size:>10,}  {path}"
    yield from describe_redacted(written.redacted)
    yield from describe_unread(written.unread)
    yield f"wrote {written.file}: read it before you pass it on"
