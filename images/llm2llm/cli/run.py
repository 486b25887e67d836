"""`llm2llm run` and `check`: run the whole loop in this process, or its first step alone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from llm2llm.cli.manifests import Paths, print_problems
from llm2llm.cli.requirements import describe_missing, missing_modules
from llm2llm.errors import ExitCode, InvalidManifest, StepError
from llm2llm.plaintext import plain_lines

_CORRECTABLE = (
    ExitCode.BAD_CONFIGURATION,
    ExitCode.BAD_DATA,
    ExitCode.AUTHENTICATION,
    ExitCode.TEACHER_QUOTA,
    ExitCode.BUDGET,
)
"""Endings after which the user mends something and goes on in the same work folder."""

if TYPE_CHECKING:
    from llm2llm.local.runner import Result
    from llm2llm.manifests.documents import LocalRun
    from llm2llm.records import Report
    from llm2llm.runtime.context import Step, StepContext
    from llm2llm.storage import Store

    Execute = Callable[[Step, Store, StepContext], Report]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a field, e.g. spec.maxIterations=2."),
]
Secrets = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME/KEY=ENVVAR", help="Read a Secret's key from an environment variable."),
]


def run(
    files: Paths,
    workdir: Annotated[
        Path | None, typer.Option(help="Store artifacts in this folder instead of spec.artifacts.uri.")
    ] = None,
    settings: Settings = None,
    secrets: Secrets = None,
) -> None:
    """Run the whole loop in this process. If interrupted, run the same command again to resume.

    Example: llm2llm run run.yaml --workdir out --secret teacher/api-key=TEACHER_API_KEY
    """
    changes = list(settings or [])
    if workdir is not None and workdir.exists() and not workdir.is_dir():
        print(f"--workdir {workdir} is a file: name a folder", file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_CONFIGURATION)
    if workdir is not None:
        changes.append(f"spec.artifacts.uri={workdir.absolute().as_uri()}")
    with load_run(files, changes, secrets or []) as (local_run, all_secrets, environ):
        advice = "" if workdir else _workdir_advice(local_run)
        raise typer.Exit(run_steps(local_run, all_secrets, environ, changes, advice))


def check(files: Paths, settings: Settings = None, secrets: Secrets = None) -> None:
    """Check everything that a run needs without running it: rows, model, template, and one row from the teacher.

    It does what a run's first step does, keeps nothing, and estimates the run's steps, tokens, and cost.

    Example: llm2llm check run.yaml --secret teacher/api-key=TEACHER_API_KEY
    """
    with TemporaryDirectory(prefix="llm2llm-check-") as folder:
        changes = for_one_try(settings, Path(folder))
        with load_run(files, changes, secrets or []) as (local_run, all_secrets, environ):
            raise typer.Exit(run_steps(local_run, all_secrets, environ, changes, "", alone=True))


def for_one_try(settings: list[str] | None, folder: Path) -> list[str]:
    """Returns the changes to a run that is tried once and leaves nothing but this folder."""
    return [*(settings or []), f"spec.artifacts.uri={folder.as_uri()}", "spec.retries.transient=0"]


@contextmanager
def load_run(
    files: list[Path], changes: list[str], secrets: list[str]
) -> Iterator[tuple[LocalRun, dict[str, dict[str, str]], Mapping[str, str]]]:
    """Reads what a command line names: the run with its changes, its Secrets, and the environment of its steps.

    Raises:
        Exit: something is missing or invalid; it has been printed.
    """
    if missing := missing_modules():
        print(describe_missing(missing), file=sys.stderr)
        raise typer.Exit(ExitCode.BAD_CONFIGURATION)
    from llm2llm.manifests.documents import read_documents, set_fields, validate_run
    from llm2llm.manifests.environment import mount_config_maps
    from llm2llm.manifests.secrets import add_secrets, missing_secrets, unused_secrets

    try:
        documents = read_documents(files)
        local_run = validate_run(set_fields(documents.the_run(), changes))
        all_secrets = add_secrets(documents.secrets, secrets, os.environ, local_run.spec)
    except InvalidManifest as error:
        raise print_problems(error) from None
    absent = list(missing_secrets(local_run.spec, all_secrets, os.environ))
    for problem in [*absent, *unused_secrets(local_run.spec, secrets)]:
        print(problem if absent else f"warning: {problem}", file=sys.stderr)
    if absent:
        raise typer.Exit(ExitCode.AUTHENTICATION)
    with TemporaryDirectory(prefix="llm2llm-") as folder:
        yield (
            local_run,
            all_secrets,
            {**os.environ, **mount_config_maps(local_run.spec, documents.config_maps, Path(folder))},
        )


def _workdir_advice(local_run: LocalRun) -> str:
    """Returns what helps whoever meant to keep the artifacts on this machine."""
    return f"spec.artifacts.uri is {local_run.spec.artifacts.uri}: pass --workdir FOLDER to store them here instead"


def run_steps(
    local_run: LocalRun,
    secrets: dict[str, dict[str, str]],
    environ: Mapping[str, str],
    settings: list[str],
    workdir_advice: str,
    *,
    alone: bool = False,
    execute: Execute | None = None,
) -> int:
    """Runs the loop, or Prepare alone; prints how that ended, and returns the exit code.

    Args:
        local_run: the run.
        secrets: its Secrets.
        environ: of its steps.
        settings: the `--set` of the command line.
        workdir_advice: is printed if the store cannot be opened.
        alone: runs Prepare alone.
        execute: runs a step; the default keeps to what a run does.
    """
    from llm2llm.local.display import display_for
    from llm2llm.local.runner import Runner
    from llm2llm.loop.steps import expected_steps

    stopping = threading.Event()
    _stop_on_signals(stopping)
    display = display_for(expected_steps(local_run.spec), local_run.spec.objective.metric)
    runner = Runner(local_run, secrets, environ, display, stopping, settings)
    runner.execute = execute or runner.execute
    try:
        with closing(display):
            result = None if alone else runner.complete()
            prepared = runner.prepare() if alone else None
    except StepError as error:
        print(plain_lines(error.message), file=sys.stderr)
        if workdir_advice and not runner.has_store:
            print(workdir_advice, file=sys.stderr)
        elif error.exit_code in _CORRECTABLE and not alone:
            print(
                "correct this, then run the same command again: steps that are done are not repeated", file=sys.stderr
            )
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume from the last checkpoint", file=sys.stderr)
        return int(ExitCode.TERMINATED)
    except Exception:  # noqa: BLE001 - the top of the process: as in a pod, an unknown error is transient
        traceback.print_exc()
        return int(ExitCode.TRANSIENT)
    if result:
        _print_result(result)
    if prepared:
        _print_prepared(prepared)
    return 0


def _stop_on_signals(stopping: threading.Event) -> None:
    """Lets the step save its work on the first Ctrl-C or SIGTERM; a second Ctrl-C stops immediately."""

    def stop(number: int, _: object) -> None:
        print("stopping after saving a checkpoint; press Ctrl-C again to stop immediately", file=sys.stderr)
        stopping.set()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _print_prepared(report: Report) -> None:
    """Prints what Prepare counted; the display has told its message."""
    resolved, usage = report.resolved, report.usage
    if resolved:
        counts = {"seed": resolved.seed_count, "evaluation": resolved.evaluation_count, "test": resolved.test_count}
        print(f"rows: {', '.join(f'{count:,} {name}' for name, count in counts.items() if count)}")
        print(f"model: {resolved.model_revision}, evaluated by {resolved.engine}")
    tokens = usage.teacher_input_tokens + usage.teacher_output_tokens
    requests = f"{usage.teacher_requests} request{'' if usage.teacher_requests == 1 else 's'}"
    print(f"the run can start; this check used {requests} and {tokens} tokens")


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
