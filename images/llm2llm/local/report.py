"""Prints the tables of finished and unfinished runs, read from their manifests (`llm2llm report`)."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.iterations import committed_iterations
from llm2llm.errors import ExitCode, StepError
from llm2llm.local.display import IterationView, iteration_table
from llm2llm.local.record import RECORD, RunRecord
from llm2llm.storage import LocalStore


def print_reports(workdir: Path) -> int:
    """Prints each run below `workdir`; returns the exit code of the command."""
    records = sorted(workdir.glob(f"*/*/{RECORD}"))
    if not records:
        print(f"{workdir}: no runs found; create one with `llm2llm run --workdir {workdir}`", file=sys.stderr)
        return ExitCode.BAD_CONFIGURATION
    for path in records:
        try:
            record = RunRecord.model_validate_json(path.read_bytes())
            metric = AugmentationRunSpec.model_validate(record.spec).objective.metric
            table = iteration_table(_iterations(LocalStore(path.parent), metric), metric)
        except (StepError, ValueError) as error:
            print(f"{path.parent}: {error}", file=sys.stderr)
            return ExitCode.INCOMPATIBLE
        table.title = f"{record.namespace}/{record.name}"
        Console().print(table)
    return ExitCode.DONE


def _iterations(store: LocalStore, metric: str) -> dict[int, IterationView]:
    views: dict[int, IterationView] = {}
    for iteration in committed_iterations(store):
        views[iteration.index] = IterationView(iteration.index, metric)
        for manifest in (iteration.train, iteration.evaluate, iteration.generate):
            if manifest:
                views[iteration.index].take(manifest.report)
    return views
