"""One step from its document to its report: what `llm2llm step` does in a pod, and the local runner in its process.

The document is parsed once. Output that is committed already, by this run or by one in `spec.reuseFrom`, is the result.
Otherwise the stage makes files and a report, and one manifest commits both. Then what the step left on its way is
tidied up. In a pod the report goes to the termination message, the log to the store, and the exit code says what kind
of end it was (errors.py).
"""

from __future__ import annotations

import faulthandler
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from pydantic import ValidationError

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import committed_manifest
from llm2llm.errors import ExitCode, GpuOutOfMemory, StepError, Transient
from llm2llm.layout import log_key
from llm2llm.podenv import POD_UID, SCRATCH_FOLDER, STEP, TERMINATION_PATH
from llm2llm.records import Kind, Report, Stage, StepDocument
from llm2llm.runtime.context import StageResult, Step, StepContext
from llm2llm.runtime.disk import ADVICE, is_disk_error
from llm2llm.runtime.logs import Log, secret_values, tee_output
from llm2llm.runtime.watchdog import Watchdog
from llm2llm.storage import Store, open_store

NOT_COMMITTED = "NotCommitted"
"""Reason of a Collect that found nothing: the work has to be done again."""
_MESSAGE_LENGTH = 2048
_LOG_SECONDS = 20.0

RunStage = Callable[[Step, Store, StepContext], StageResult]


def run_step(step: Step, store: Store, context: StepContext) -> Report:
    """Returns the report of a step: of its committed output if there is one, else of the work done now.

    Raises:
        StepError: the step ended without a result.
    """
    report = _committed_report(step, store, context)
    if report is None:
        if step.kind is Kind.COLLECT:
            return _ended_report(
                step, ExitCode.TRANSIENT, NOT_COMMITTED, f"{store.uri} contains no output of this step"
            )
        result = _stage(step.stage)(step, store, context)
        report = commit(store, step, context, result.files, result.report)
    tidy_up(step, store, context)
    return report


def tidy_up(step: Step, store: Store, context: StepContext) -> None:
    """Removes what a committed step needs no more, and rewrites the views of the run (rule D7).

    Also where the output was found committed: a pod that was killed between its commit and its end has left both.
    """
    if step.stage is Stage.TRAIN:
        from llm2llm.artifacts.checkpoints import Checkpoints

        Checkpoints(store, step, pod_uid=context.pod_uid, keep=1).clear()
    if step.stage in (Stage.EVALUATE, Stage.TEST):
        from llm2llm.artifacts.partials import PartialPredictions

        PartialPredictions(store, step, context.pod_uid).clear()
    if step.stage in (Stage.EVALUATE, Stage.GENERATE, Stage.TEST):
        from llm2llm.artifacts.retention import drop_weights
        from llm2llm.report.views import write_views

        write_views(step, store, context)
        drop_weights(step, store)


def _committed_report(step: Step, store: Store, context: StepContext) -> Report | None:
    """The report of this step's committed output: this run's own, or a copy of another run's."""
    manifest = committed_manifest(store, step)
    if manifest is not None:
        # Under a fixed artifacts.key the output may be that of an earlier run: the report is this attempt's.
        return manifest.report.model_copy(
            update={"run_uid": step.run_uid, "attempt": step.attempt, "seconds": {}, "exit_code": 0}
        )
    if step.kind is Kind.COLLECT or not step.spec.reuse_from:
        return None
    from llm2llm.artifacts.reuse import copy_from_reused_run

    return copy_from_reused_run(step, store, context)


def main_step(environ: Mapping[str, str]) -> int:
    """`llm2llm step`: runs the step of LLM2LLM_STEP and returns the exit code of this process."""
    try:
        step = Step.of(StepDocument.model_validate_json(environ.get(STEP, "")))
    except ValidationError as error:
        print(f"{STEP} is not a valid step document: {error}", file=sys.stderr)
        return ExitCode.BAD_CONFIGURATION
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with tee_output() as log:
        context = StepContext(
            pod_uid=environ.get(POD_UID) or secrets.token_hex(8),
            scratch=Path(environ.get(SCRATCH_FOLDER) or tempfile.mkdtemp(prefix="llm2llm-")),
            environ=environ,
            stopping=stopping,
        )
        with Watchdog(
            step.block.progress_deadline_seconds,
            lambda still: _end_hung_step(still, log, step, context),
        ) as watchdog:
            context.progress = watchdog.wrap_progress(context.progress)
            report = _attempt(step, context)
        _print_report(report, environ)
        _store_log(log, step, context)
        if not environ.get(SCRATCH_FOLDER):
            shutil.rmtree(context.scratch, ignore_errors=True)
    return report.exit_code


def _end_hung_step(still: float, log: Log, step: Step, context: StepContext) -> None:
    """Ends this process from the watchdog's thread: exit 75, with where every thread was."""
    print(_threads(), file=sys.stderr)
    words = (
        f"no progress for {still:.0f} s, longer than progressDeadlineSeconds: the step stops so that it can be retried"
    )
    report = _ended_report(step, ExitCode.TRANSIENT, "NoProgress", words)
    _print_report(report.model_copy(update={"usage": context.usage}), context.environ)
    leaving = threading.Thread(target=_store_log, args=(log, step, context), daemon=True)
    leaving.start()
    leaving.join(_LOG_SECONDS)  # the store may be what hangs
    os._exit(ExitCode.TRANSIENT)


def _threads() -> str:
    """Where every thread is: by way of a file, since only Python's own stderr goes into the log that is kept."""
    with suppress(OSError), tempfile.TemporaryFile("w+") as file:  # the disk may be what is full
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()
    return ""


def _print_report(report: Report, environ: Mapping[str, str]) -> None:
    if report.message:
        print(report.message, file=sys.stderr)
    print(report.to_termination_message(), flush=True)
    _write_termination_message(report, environ)


def failed_report(step: Step, error: StepError) -> Report:
    """The report of a step that ended without a result."""
    report = _ended_report(step, error.exit_code, error.reason, error.message)
    if isinstance(error, GpuOutOfMemory):
        return report.model_copy(update={"micro_batch": error.micro_batch})
    return report


def _attempt(step: Step, context: StepContext) -> Report:
    """Every way that a step can end, as a report."""
    try:
        context.scratch.mkdir(parents=True, exist_ok=True)
        store = open_store(step.root, step.spec.artifacts, context.environ)
        report = run_step(step, store, context)
    except StepError as error:
        report = failed_report(step, error)
    except Exception as error:  # noqa: BLE001 - the top of the process: unknown causes are transient, and told in full
        traceback.print_exc()
        last = traceback.format_exception_only(error)[-1].strip()
        report = _ended_report(step, ExitCode.TRANSIENT, "UnexpectedError", last)
        if is_disk_error(error):
            report = failed_report(step, Transient(f"{last}: {ADVICE} ({context.scratch})"))
    message = report.message
    for value in secret_values(context.environ):
        message = message.replace(value, "***")
    usage = context.usage if report.exit_code else report.usage
    return report.model_copy(update={"message": message, "usage": usage})


def _stage(stage: Stage) -> RunStage:
    """The function of a stage, from the module of its name: imported now, because each image holds other libraries."""
    run: RunStage = import_module(f"llm2llm.stages.{stage.value.lower()}").run
    return run


def _ended_report(step: Step, code: ExitCode, reason: str, message: str) -> Report:
    """The report of a step that has nothing to show."""
    return Report(**step.address, exit_code=code, reason=reason, message=message[:_MESSAGE_LENGTH])


def _write_termination_message(report: Report, environ: Mapping[str, str]) -> None:
    """The kubelet reads it from here; outside of a pod there may be no such file."""
    path = Path(environ.get(TERMINATION_PATH) or "/dev/termination-log")
    if environ.get(TERMINATION_PATH) or path.exists():
        try:
            path.write_text(report.to_termination_message())
        except OSError as error:
            print(f"the report could not be written to {path}: {error}", file=sys.stderr)


def _store_log(log: Log, step: Step, context: StepContext) -> None:
    """A log helps people; that it cannot be stored changes nothing about the step."""
    key = log_key(step.stage, step.iteration, step.attempt, context.pod_uid)
    try:
        open_store(step.root, step.spec.artifacts, context.environ).write(key, log.masked(context.environ))
    except StepError as error:
        print(f"the log could not be stored: {error.message}", file=sys.stderr)
