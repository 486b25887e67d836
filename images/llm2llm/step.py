"""Runs one step from its document to its report: for `llm2llm step` in a pod, and in the local runner's process.

The document is parsed once. If output is already committed, by this run or by one in `spec.reuseFrom`, it is the
result. Otherwise the stage produces files and a report, and one manifest commits both. Then intermediate objects of the
step are deleted. In a pod the report goes to the termination message, the log to the store, and the exit code says how
the step ended (errors.py).
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
from typing import TYPE_CHECKING

from pydantic import ValidationError

from llm2llm.artifacts.commit import commit
from llm2llm.artifacts.committed import committed_manifest
from llm2llm.errors import ExitCode, GpuOutOfMemory, StepError, Transient
from llm2llm.layout import log_key
from llm2llm.loop.stages import STAGES
from llm2llm.podenv import POD_UID, SCRATCH_FOLDER, STEP, TERMINATION_PATH
from llm2llm.records import REPORT_MESSAGE_LIMIT, Kind, Manifest, Report, Stage, StepDocument
from llm2llm.runtime.context import StageResult, Step, StepContext
from llm2llm.runtime.credentials import take_secrets
from llm2llm.runtime.disk import ADVICE, is_disk_error
from llm2llm.runtime.logs import Log, tee_output
from llm2llm.runtime.masking import Masker, masker_of
from llm2llm.runtime.watchdog import Watchdog
from llm2llm.storage import Store, open_store

if TYPE_CHECKING:
    from llm2llm.report.collect import Contents

NOT_COMMITTED = "NotCommitted"
"""Reason of a Collect that found no output: the work has to be repeated."""
_LOG_SECONDS = 20.0

RunStage = Callable[[Step, Store, StepContext], StageResult]


def run_step(step: Step, store: Store, context: StepContext) -> Report:
    """Returns the report of a step: that of its committed output if there is one, else of the work done now.

    Raises:
        StepError: the step ended without a result.
    """
    report = _committed_report(step, store, context)
    if report is None:
        if step.kind is Kind.COLLECT:
            message = f"{store.uri} contains no output of this step"
            return _ended_report(step, ExitCode.TRANSIENT, NOT_COMMITTED, message, context.mask)
        result = _load_stage(step.stage)(step, store, context)
        report = commit(store, step, context, result.files, result.report)
    tidy_up(step, store, context)
    return report


def tidy_up(step: Step, store: Store, context: StepContext) -> None:
    """Deletes what a committed step no longer needs, and rewrites the views of the run (rule D7).

    Runs also if the output was already committed, because a pod may have been killed between its commit and this.
    """
    traits = STAGES[step.stage]
    if traits.keeps_checkpoints:
        from llm2llm.artifacts.checkpoints import Checkpoints

        Checkpoints(store, step, pod_uid=context.pod_uid, keep=1).clear()
    if traits.keeps_partials:
        from llm2llm.artifacts.partials import PartialPredictions

        PartialPredictions(store, step, context.pod_uid).clear()
    if traits.writes_views:
        from llm2llm.artifacts.retention import drop_weights
        from llm2llm.report.views import write_views

        contents = write_views(step, store, context)
        drop_weights(step, store)
        if contents and step.kind is Kind.RUN and traits.tracks:
            _track(step, contents, context)


def _track(step: Step, contents: Contents, context: StepContext) -> None:
    """Shows the run on the tracking server that its spec names; whatever comes of that, the step's work is done."""
    server = step.spec.tracking.mlflow if step.spec.tracking else None
    if server is None:
        return
    try:
        from llm2llm.report.mlflow import write_to_mlflow
    except ImportError as error:  # an image of the user's own
        message = f"MLflow at {server.uri} was not brought up to date: {error}"
        context.progress({"stage": step.stage.value, "message": message})
    else:
        write_to_mlflow(server, step, contents, context)


def _committed_report(step: Step, store: Store, context: StepContext) -> Report | None:
    """Returns the report of this step's committed output, this run's own or copied from another run; None if there is
    none.
    """
    manifest = committed_manifest(store, step)
    if manifest is not None:
        # With a fixed artifacts.key the output may be an earlier run's, but the report is this attempt's.
        return manifest.report.model_copy(
            update={"run_uid": step.run_uid, "attempt": step.attempt, "seconds": {}, "exit_code": 0}
        )
    if step.kind is Kind.COLLECT or not step.spec.reuse_from:
        return None
    from llm2llm.artifacts.reuse import copy_from_reused_run

    def fits(other: Store, manifest: Manifest) -> bool:
        if step.stage is not Stage.GENERATE:
            return True
        from llm2llm.stages.teacher_endpoint import has_same_teacher

        return has_same_teacher(step, store, context, other, manifest)

    return copy_from_reused_run(step, store, context, fits)


def main_step(environ: Mapping[str, str]) -> int:
    """Runs the step in LLM2LLM_STEP (`llm2llm step`) and returns the exit code of this process."""
    try:
        step = Step.of(StepDocument.model_validate_json(environ.get(STEP, "")))
    except ValidationError as error:
        print(f"{STEP} is not a valid step document: {error}", file=sys.stderr)
        return ExitCode.BAD_CONFIGURATION
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    mask = masker_of(step.spec, environ)
    with tee_output(mask) as log:
        context = StepContext(
            pod_uid=environ.get(POD_UID) or secrets.token_hex(8),
            scratch=Path(environ.get(SCRATCH_FOLDER) or tempfile.mkdtemp(prefix="llm2llm-")),
            environ=environ,
            stopping=stopping,
            mask=mask,
        )
        with Watchdog(
            step.block.progress_deadline_seconds,
            lambda idle: _end_hung_step(idle, log, step, context),
        ) as watchdog:
            context.progress = watchdog.wrap_progress(context.progress)
            report = _run_attempt(step, context)
        _print_report(report, environ)
        _store_log(log, step, context)
        if not environ.get(SCRATCH_FOLDER):
            shutil.rmtree(context.scratch, ignore_errors=True)
    return report.exit_code


def _end_hung_step(idle: float, log: Log, step: Step, context: StepContext) -> None:
    """Ends this process from the watchdog's thread: prints the stack of every thread and exits with 75."""
    print(_thread_dump(), file=sys.stderr)
    message = (
        f"no progress for {idle:.0f} s, longer than progressDeadlineSeconds: the step stops so that it can be retried"
    )
    report = _ended_report(step, ExitCode.TRANSIENT, "NoProgress", message, context.mask)
    _print_report(report.model_copy(update={"usage": context.usage}), context.environ)
    upload = threading.Thread(target=_store_log, args=(log, step, context), daemon=True)
    upload.start()
    upload.join(_LOG_SECONDS)  # it may be the store that hangs
    os._exit(ExitCode.TRANSIENT)


def _thread_dump() -> str:
    """Returns the stacks of all threads, through a file, because the log keeps only what Python itself writes to
    stderr.
    """
    with suppress(OSError), tempfile.TemporaryFile("w+") as file:  # the disk may be full
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()
    return ""


def _print_report(report: Report, environ: Mapping[str, str]) -> None:
    if report.message:
        print(report.message, file=sys.stderr)
    print(report.to_termination_message(), flush=True)
    _write_termination_message(report, environ)


def failed_report(step: Step, error: StepError, mask: Masker) -> Report:
    """Returns the report of a step that ended without a result; its message contains no secret."""
    report = _ended_report(step, error.exit_code, error.reason, error.message, mask)
    if isinstance(error, GpuOutOfMemory):
        return report.model_copy(update={"micro_batch": error.micro_batch})
    return report


def _run_attempt(step: Step, context: StepContext) -> Report:
    """Runs a step and returns its report, however it ends."""
    try:
        context.environ = take_secrets(step.spec, step.stage, context.environ, step.kind)
        context.scratch.mkdir(parents=True, exist_ok=True)
        store = open_store(step.root, step.spec.artifacts, context.environ)
        report = run_step(step, store, context)
    except StepError as error:
        report = failed_report(step, error, context.mask)
    except Exception as error:  # noqa: BLE001 - the top of the process: unknown errors are transient
        traceback.print_exc()
        description = traceback.format_exception_only(error)[-1].strip()
        report = _ended_report(step, ExitCode.TRANSIENT, "UnexpectedError", description, context.mask)
        if is_disk_error(error):
            full = Transient(f"{description}: {ADVICE} ({context.scratch})")
            report = failed_report(step, full, context.mask)
    message = context.mask(report.message)
    usage = context.usage if report.exit_code else report.usage
    return report.model_copy(update={"message": message, "usage": usage})


def _load_stage(stage: Stage) -> RunStage:
    """Returns the function of a stage from its module, imported only now, because each image has other libraries."""
    run: RunStage = import_module(f"llm2llm.stages.{stage.value.lower()}").run
    return run


def _ended_report(step: Step, code: ExitCode, reason: str, message: str, mask: Masker) -> Report:
    """Returns the report of a step without a result."""
    message = mask(message)[:REPORT_MESSAGE_LIMIT]
    return Report(**step.address, exit_code=code, reason=reason, message=message)


def _write_termination_message(report: Report, environ: Mapping[str, str]) -> None:
    """Writes the report where the kubelet reads it; outside a pod there may be no such file."""
    path = Path(environ.get(TERMINATION_PATH) or "/dev/termination-log")
    if environ.get(TERMINATION_PATH) or path.exists():
        try:
            path.write_text(report.to_termination_message())
        except OSError as error:
            print(f"the report could not be written to {path}: {error}", file=sys.stderr)


def _store_log(log: Log, step: Step, context: StepContext) -> None:
    """Uploads the log for people; an error does not affect the step."""
    key = log_key(step.stage, step.iteration, step.attempt, context.pod_uid)
    try:
        open_store(step.root, step.spec.artifacts, context.environ).write(key, log.encode())
    except StepError as error:
        print(f"the log could not be stored: {error.message}", file=sys.stderr)
