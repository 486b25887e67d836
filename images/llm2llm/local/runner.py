"""Drives the loop in this process: calls `next_step`, runs the stage, and repeats.

The store is the only memory: a step whose output is committed is not run again, so the same command resumes where it
was interrupted. The run's identity is derived from its name and namespace, so the same folder is found again.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets as randomness
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llm2llm.api.base import dump_identity
from llm2llm.api.policy import Objective
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import committed_manifest, manifest_in
from llm2llm.budget import Spent, gpu_seconds_left
from llm2llm.errors import BudgetReached, ExitCode, GpuOutOfMemory, IncompatibleArtifacts, StepError, Terminated
from llm2llm.layout import log_key, run_root
from llm2llm.local.display import Display
from llm2llm.local.hold import hold_run
from llm2llm.local.record import RECORD, RunRecord, changed_fields, given_fields, keep_defaults
from llm2llm.local.sources import check_sources
from llm2llm.loop.outcomes import StepId, StepResult
from llm2llm.loop.stages import INPUTS
from llm2llm.loop.steps import awaits_approval, describe_release, ending_step, next_step, parents
from llm2llm.loop.stopping import Best, Finished, best_iteration
from llm2llm.manifests.documents import LocalRun
from llm2llm.manifests.environment import step_environment
from llm2llm.records import Report, Stage
from llm2llm.report.views import PAGE
from llm2llm.runtime.context import Step, StepContext
from llm2llm.runtime.logs import Log
from llm2llm.runtime.masking import masker_of
from llm2llm.step import run_step
from llm2llm.storage import ObjectMissing, Store, open_store

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
LONGEST_RUN = 64
"""The most iterations that a run may have (`spec.maxIterations`)."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    finished: Finished
    best: Best | None
    report: str
    """Path of the run's report page."""


@dataclass
class Runner:
    """Runs one run in this process. `stopping` is set by Ctrl-C; `settings` are the `--set` of the command line."""

    run: LocalRun
    secrets: Mapping[str, Mapping[str, str]]
    environ: Mapping[str, str]
    display: Display
    stopping: threading.Event = field(default_factory=threading.Event)
    settings: Sequence[str] = ()
    execute: Callable[[Step, Store, StepContext], Report] = run_step
    has_store: bool = False
    """Whether the folder of the run's artifacts could be opened."""
    _confirm: Callable[[], None] = lambda: None
    """Makes sure that this process still holds the run."""
    _ceiling: int = 0
    """Limit of the micro-batch after running out of GPU memory, so that later trainings do not run out again."""

    @property
    def spec(self) -> AugmentationRunSpec:
        return self.run.spec

    @property
    def uid(self) -> str:
        """The UID, the same for the same name: a run is identified by its folder, not by this process."""
        return str(uuid.UUID(bytes=hashlib.sha256(f"{self.run.namespace}/{self.run.name}".encode()).digest()[:16]))

    def complete(self) -> Result:
        """Runs the steps that are not done yet, while no other process runs steps in the same folder.

        Raises:
            StepError: of the step that failed; another call resumes from there.
            Transient: another process holds the run.
        """
        store = self._open_store()
        with hold_run(store, self.stopping, self.display.say) as hold:
            self._confirm = hold.confirm
            return self._complete(store)

    def prepare(self) -> Report:
        """Runs Prepare alone, and returns its report.

        Raises:
            StepError: it found something that stands in the run's way.
        """
        store = self._open_store()
        with hold_run(store, self.stopping, self.display.say) as hold:
            self._confirm = hold.confirm
            self._claim(store)
            return self._run_step(StepId(Stage.PREPARE), [], store)

    def _complete(self, store: Store) -> Result:
        self.has_store = True
        self._claim(store)
        if gpu_seconds_left(self.spec.budget, Spent()) is not None:
            self.display.say(
                "spec.budget: GPU time is not counted without a cluster, so the limits on GPU hours and GPU cost have "
                "no effect here"
            )
        outcomes = self._committed(store)
        while True:
            step = next_step(self.spec, outcomes)
            if isinstance(step, Finished):
                return self._result(step, outcomes, store)
            try:
                report = self._run_step(step, outcomes, store)
            except BudgetReached as error:
                has_best = best_iteration(self.spec, outcomes, ended=True) is not None
                if self.spec.budget.on_exceeded != "Complete" or not has_best:
                    raise
                return self._complete_within_budget(error, outcomes, store)
            outcomes.append(StepResult.of(report))

    def _committed(self, store: Store) -> list[StepResult]:
        """Returns the steps that are committed, also those of iterations that `maxIterations` does not allow any more.

        So the best iteration is the same as in a cluster, whose status has all of them, and as on the report page.
        """
        unlimited = {"max_iterations": LONGEST_RUN, "early_stopping": None, "objective": Objective()}
        spec = self.spec.model_copy(update=unlimited)
        outcomes: list[StepResult] = []
        while isinstance(step := next_step(spec, outcomes), StepId):
            committed = committed_manifest(store, self._work(step, outcomes))
            if committed is None:
                break
            self.display.step_finished(committed.report, before=True)
            outcomes.append(StepResult.of(committed.report))
        return outcomes

    def _work(self, step: StepId, outcomes: Sequence[StepResult]) -> Step:
        return Step(
            stage=step.stage,
            iteration=step.iteration,
            namespace=self.run.namespace,
            run=self.run.name,
            run_uid=self.uid,
            spec=self.spec,
            parents=parents(self.spec, step, outcomes),
        )

    def _complete_within_budget(self, error: BudgetReached, outcomes: list[StepResult], store: Store) -> Result:
        """Completes the run with the best adapter so far, or the closing iteration's (`onExceeded: Complete`)."""
        while (step := ending_step(self.spec, outcomes)) is not None:
            outcomes.append(StepResult.of(self._run_step(step, outcomes, store)))
        return self._result(Finished(error.reason, error.message), outcomes, store)

    def _result(self, finished: Finished, outcomes: Sequence[StepResult], store: Store) -> Result:
        return Result(finished, best_iteration(self.spec, outcomes, ended=True), f"{store.uri}/{PAGE}")

    def _run_step(self, step: StepId, outcomes: Sequence[StepResult], store: Store) -> Report:
        """Returns the report of a step, which is read if it is committed and run otherwise."""
        work = self._work(step, outcomes)
        committed = committed_manifest(store, work)
        if committed is not None:
            self.display.step_finished(committed.report, before=True)
            return committed.report
        if awaits_approval(self.spec, step):
            raise Terminated(f"{describe_release(step, store.uri)}, and run the same command again")
        self.display.step_started(step)
        report = self._run_with_retries(work, store)
        self.display.step_finished(report, before=False)
        return report

    def _run_with_retries(self, step: Step, store: Store) -> Report:
        """Runs the attempts of a step: pauses after a transient failure, halves the micro-batch when out of memory."""
        transient = memory = 0
        said = ""
        if step.stage is Stage.TRAIN:
            step = replace(step, micro_batch=self._ceiling)
        while True:
            if self.stopping.is_set():
                raise Terminated("interrupted: run the same command again to resume")
            try:
                return self._run_attempt(step, store)
            except GpuOutOfMemory as error:
                memory += 1
                if memory > self.spec.retries.out_of_memory or error.micro_batch <= 1:
                    raise
                self._ceiling = error.micro_batch // 2
                step = replace(step, attempt=step.attempt + 1, micro_batch=self._ceiling)
                self.display.say(f"{error.message}; retrying with a micro-batch of {step.micro_batch}")
            except StepError as error:
                transient += 1
                if error.exit_code != ExitCode.TRANSIENT or transient > self.spec.retries.transient:
                    raise
                step = replace(step, attempt=step.attempt + 1)
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (transient - 1)) * random.uniform(0.5, 1)  # noqa: S311
                reason = "the same again" if error.message == said else error.message
                said = error.message
                self.display.say(f"{reason}; retrying in {pause:.0f} s")
                self.stopping.wait(pause)

    def _run_attempt(self, step: Step, store: Store) -> Report:
        with tempfile.TemporaryDirectory(prefix="llm2llm-", ignore_cleanup_errors=True) as scratch:
            environ = step_environment(self.spec, step.stage, self.secrets, self.environ)
            log, mask = Log(), masker_of(self.spec, environ)

            def progress(event: Mapping[str, object]) -> None:
                log.add(mask(json.dumps(event, default=str)) + "\n")
                self.display.progress({name: mask(of) if isinstance(of, str) else of for name, of in event.items()})

            context = StepContext(
                pod_uid=randomness.token_hex(8),
                scratch=Path(scratch),
                environ=environ,
                stopping=self.stopping,
                progress=progress,
                mask=mask,
                confirm=self._confirm,
            )
            try:
                return self.execute(step, store, context)
            except StepError as error:
                error.message = mask(error.message)
                log.add(error.message + "\n")
                raise
            finally:
                self._store_log(log, step, store, context.pod_uid)

    def _store_log(self, log: Log, step: Step, store: Store, attempt: str) -> None:
        """Writes an attempt's log beside the artifacts, as a pod does; an error does not affect the step."""
        text = log.encode()
        if text:
            try:
                store.write(log_key(step.stage, step.iteration, step.attempt, attempt), text)
            except StepError as error:
                self.display.say(f"the log could not be stored: {error.message}")

    def _prepare_environ(self) -> dict[str, str]:
        return step_environment(self.spec, Stage.PREPARE, self.secrets, self.environ)

    def _open_store(self) -> Store:
        root = run_root(self.spec, self.run.namespace, self.run.name, self.uid)
        return open_store(root, self.spec.artifacts, self._prepare_environ())

    def _claim(self, store: Store) -> None:
        """Writes `run.json`, after comparing it with an existing one, whose defaults this run keeps.

        While Prepare has not committed, any field may still be corrected, and so may rows and models.

        Raises:
            IncompatibleArtifacts: a field that defines the experiment, or a source, has changed.
        """
        given = given_fields(self.spec)
        try:
            earlier = RunRecord.model_validate_json(store.read(RECORD))
        except ObjectMissing:
            earlier = None
        except ValueError as error:
            raise IncompatibleArtifacts(f"{store.uri}/{RECORD} cannot be read: {error}") from error
        inputs = manifest_in(store, INPUTS)
        if earlier is not None and inputs:
            self.run = replace(self.run, spec=keep_defaults(self.spec, earlier))
            changed = changed_fields(earlier, self.spec)
            if changed:
                raise IncompatibleArtifacts(
                    f"{store.uri} belongs to another experiment ({'; '.join(changed)}): use another --workdir, or "
                    "restore these fields"
                )
            check_sources(self.spec, inputs, store, self._prepare_environ(), self.display.say)
        record = RunRecord(
            name=self.run.name,
            namespace=self.run.namespace,
            uid=self.uid,
            settings=tuple(self.settings),
            spec=dump_identity(self.spec),
            given=given,
        )
        store.write(RECORD, record.to_json().encode() + b"\n")
