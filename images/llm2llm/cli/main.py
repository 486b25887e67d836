"""The command line: `llm2llm run`, `step`, `validate` and `report`.

Nothing heavy is imported before a command needs it: `--help` and `validate` answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from llm2llm.errors import ExitCode, InvalidManifest, StepError

if TYPE_CHECKING:
    from llm2llm.local.documents import LocalRun
    from llm2llm.local.runner import Result

app = typer.Typer(
    help="LLM2LLM: fine-tune a student model, find its mistakes, let a teacher model write more examples like them, "
    "and repeat.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Paths = Annotated[list[Path], typer.Argument(help="Manifest files, or folders that contain them.", show_default=False)]


@app.command()
def run(
    files: Paths,
    workdir: Annotated[
        Path | None, typer.Option(help="Store artifacts in this folder instead of spec.artifacts.uri.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override a field, e.g. spec.maxIterations=2."),
    ] = None,
    secrets: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="NAME/KEY=ENVVAR", help="Read a Secret's key from an environment variable."),
    ] = None,
) -> None:
    """Run the whole loop in this process. If interrupted, run the same command again to resume."""
    from llm2llm.local.documents import add_secrets, read_documents, set_fields, validate_run
    from llm2llm.local.environment import mount_config_maps

    changes = list(settings or [])
    if workdir is not None:
        changes.append(f"spec.artifacts.uri={workdir.absolute().as_uri()}")
    try:
        documents = read_documents(files)
        chosen = validate_run(set_fields(documents.the_run(), changes))
        given = add_secrets(documents.secrets, secrets or [], os.environ)
    except InvalidManifest as error:
        raise _print_problems(error) from None
    with TemporaryDirectory(prefix="llm2llm-") as folder:
        environ = {**os.environ, **mount_config_maps(chosen.spec, documents.config_maps, Path(folder))}
        code = _run(chosen, given, environ, changes)
    raise typer.Exit(code)


@app.command()
def step() -> None:
    """Run the single step that LLM2LLM_STEP describes; this is what a pod runs."""
    from llm2llm.step import main_step

    raise typer.Exit(main_step(os.environ))


@app.command()
def validate(files: Paths) -> None:
    """Check manifests and report every problem with its path."""
    from llm2llm.local.documents import read_documents, validate_run

    problems: list[str] = []
    try:
        documents = read_documents(files)
    except InvalidManifest as error:
        raise _print_problems(error) from None
    for file, document in documents.runs:
        try:
            checked = validate_run(document)
        except InvalidManifest as error:
            problems += [f"{file}: {problem}" if len(documents.runs) > 1 else problem for problem in error.problems]
        else:
            print(f"{file}: AugmentationRun {checked.name} is valid")
    if problems:
        raise _print_problems(InvalidManifest(problems))


@app.command()
def report(workdir: Annotated[Path, typer.Argument(help="Folder that `run --workdir` wrote to.")]) -> None:
    """Show the iterations of the runs in a work folder."""
    from llm2llm.local.report import print_reports

    raise typer.Exit(print_reports(workdir))


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        app(args=argv, prog_name="llm2llm")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _print_problems(error: InvalidManifest) -> typer.Exit:
    for problem in error.problems:
        print(problem, file=sys.stderr)
    return typer.Exit(ExitCode.BAD_CONFIGURATION)


def _run(chosen: LocalRun, secrets: dict[str, dict[str, str]], environ: Mapping[str, str], settings: list[str]) -> int:
    from llm2llm.local.display import display_for
    from llm2llm.local.runner import Runner
    from llm2llm.loop.steps import expected_steps

    stopping = threading.Event()
    _stop_on_signals(stopping)
    display = display_for(expected_steps(chosen.spec), chosen.spec.objective.metric)
    try:
        with closing(display):
            result = Runner(chosen, secrets, environ, display, stopping, settings).complete()
    except StepError as error:
        print(error.message, file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume from the last checkpoint", file=sys.stderr)
        return int(ExitCode.TERMINATED)
    except Exception:  # noqa: BLE001 - the top of the process: as in a pod, an unknown cause is transient and told in full
        traceback.print_exc()
        return int(ExitCode.TRANSIENT)
    _print_result(result)
    return 0


def _stop_on_signals(stopping: threading.Event) -> None:
    """The first Ctrl-C or SIGTERM lets the step save its work; a second Ctrl-C does not wait for that."""

    def stop(number: int, _: object) -> None:
        print("stopping after saving a checkpoint; press Ctrl-C again to stop immediately", file=sys.stderr)
        stopping.set()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _print_result(result: Result) -> None:
    from llm2llm.loop.outcomes import describe_iteration

    print(f"{result.finished.reason}: {result.finished.message}")
    if result.best:
        metric = result.best.metric
        print(
            f"best: {describe_iteration(result.best.iteration)}, {metric.name} {metric.value:.3f} "
            f"({metric.low:.3f}-{metric.high:.3f}, {metric.examples} {metric.dataset} rows)"
        )
        print(f"{result.best.model_uri.rpartition('/')[2]}: {result.best.model_uri}")  # adapter or model
        print(f"digest: {result.best.digest}")
    print(f"report: {result.report}")


if __name__ == "__main__":
    raise SystemExit(main())
