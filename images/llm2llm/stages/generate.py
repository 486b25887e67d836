"""Stage Generate: turns the mistakes of this iteration into new training examples (LLM2LLM, algorithm 1).

A round consists of waves. The requests of wave 0 are a pure function of committed inputs; once all of them are
answered, the filters judge the answers in (seed, sample) order, and the rejected rows form the next wave. So a round
that was killed and started again, on any pod and with any timing, is the same round: the ledger has its answers.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from llm2llm.artifacts.committed import parent_manifest
from llm2llm.artifacts.reuse import read_reused_answers
from llm2llm.budget import Spent
from llm2llm.errors import StepError
from llm2llm.layout import ledger_folder
from llm2llm.loop.stages import step_folder
from llm2llm.records import Report, Stage, to_jsonl, total_usage
from llm2llm.runtime.context import StageResult, Step, StepContext
from llm2llm.stages.round import WAVES, Round, begin_round
from llm2llm.stages.round_inputs import read_inputs
from llm2llm.stages.teacher_endpoint import TEACHER, freeze_teacher, open_teacher
from llm2llm.storage import Store
from llm2llm.teacher.connection import connect
from llm2llm.teacher.ledger import Ledger, LedgerRecord, merge_records, open_ledger, read_segments, usage_of
from llm2llm.teacher.limits import Limiter, bucket_per_minute
from llm2llm.teacher.requests import LedgeredTeacher
from llm2llm.teacher.reservations import BudgetReservations

PROGRESS_SECONDS = 1.0


def run(step: Step, store: Store, context: StepContext) -> StageResult:
    """Generates and filters the synthetic set of one iteration.

    Raises:
        AuthenticationError, TeacherQuotaExhausted, ConfigurationError, Transient: the teacher refuses.
        LowAcceptance: the filters rejected nearly everything.
        Terminated: SIGTERM came; the answers until then are recorded.
    """
    spec = step.spec
    with context.timed("load"):
        inputs = read_inputs(store, step.iteration, partial(parent_manifest, store, step))
        round_ = begin_round(spec, step.iteration, inputs)
    folder = ledger_folder(step_folder(Stage.GENERATE, step.iteration))
    try:
        with context.timed("compute"):
            replayed = asyncio.run(_run_waves(round_, step, store, context))
        round_.check_acceptance(over=True)
    except BaseException:
        with suppress(StepError):  # an unreachable store is not what ended this attempt
            context.usage = usage_of(read_segments(store, folder))
        raise
    segments = list(read_segments(store, folder))
    files = {
        "synthetic.jsonl": to_jsonl(round_.kept),
        "rejected.jsonl": to_jsonl(round_.rejected),
        # The judged answers come first: a concurrent pod may have other answers to the same requests.
        "ledger.jsonl": merge_records([*round_.answers, *segments, *replayed]),
    }
    source = spec.generate.teacher.source
    if source is not None:
        files[TEACHER] = freeze_teacher(step, source, store, context)
    report = Report(
        **step.address,
        generated=round_.judged,
        kept=len(round_.kept),
        usage=usage_of(segments),
        message=f"kept {len(round_.kept)} of {round_.judged} rows ({round_.refusals()})"
        + ("; another run finished this round, so only its answers were judged" if round_.finished else ""),
    )
    return StageResult(files, report)


async def _run_waves(round_: Round, step: Step, store: Store, context: StepContext) -> list[LedgerRecord]:
    """Runs all waves of a round; returns the answers of other runs that it used."""
    ceilings = round_.spec.generate.limits
    limiter = Limiter(
        ceilings.max_concurrent_requests,
        bucket_per_minute(ceilings.requests_per_minute),
        bucket_per_minute(ceilings.tokens_per_minute),
    )
    folder = ledger_folder(step_folder(Stage.GENERATE, step.iteration))
    reused = read_reused_answers(step, context)
    ledger = open_ledger(store, folder, context.pod_uid, lambda: limiter.in_flight, reused.by_key)

    def tell(message: str) -> None:
        context.progress({"stage": step.stage.value, "iteration": step.iteration, "message": message})

    with open_teacher(round_.spec, step, store, context, tell) as endpoint:

        def stopping() -> bool:
            endpoint.check()
            return context.stopping.is_set()

        async with connect(endpoint.teacher, endpoint.environ, tell, endpoint.identity) as client:
            teacher = LedgeredTeacher(client, limiter, ledger, _reservations(round_, step, ledger))
            teacher.confirm = context.confirm
            teacher.waits = lambda seconds: tell(f"waiting up to {seconds:.0f} s {teacher.reason}")
            pending = round_.items
            judged = reused.finished_round(teacher.key(round_.request(item, 0)) for item in pending)
            if judged is not None:
                round_.finished = True
                ledger.others = {**reused.by_key, **judged}
            for wave in range(WAVES):
                if round_.finished:
                    pending = [item for item in pending if teacher.known(round_.request(item, wave))]
                requests = [round_.request(item, wave) for item in pending]
                if not all(map(teacher.known, requests)):
                    await asyncio.to_thread(endpoint.start)
                teacher.answered = _Progress(context, step, wave, len(requests))
                if wave == 0 and not round_.finished:
                    trial = round_.trial_items()
                    trial_requests = [round_.request(item, wave) for item in trial]
                    round_.check_trial(trial, await teacher.answers(trial_requests, stopping))
                records = await teacher.answers(requests, stopping)
                pending = round_.judge_wave(pending, records)
                if not pending:
                    break
                round_.check_acceptance()  # garbage is not requested again
    return list(ledger.replayed.values())


def _reservations(round_: Round, step: Step, ledger: Ledger) -> BudgetReservations:
    """Opens the budget, less what earlier steps and this step's earlier attempts have spent."""
    parameters = round_.spec.generate.teacher.parameters
    limit = parameters.get("max_completion_tokens") or parameters.get("max_tokens") or ""
    spent = Spent(total_usage(round_.inputs.paid, usage_of(ledger.records)), step.gpu_seconds)
    return BudgetReservations(round_.spec.budget, spent, int(limit) if limit.isdecimal() else 0)


class _Progress:
    """Reports, once a second, how many rows of this wave the teacher has answered."""

    def __init__(self, context: StepContext, step: Step, wave: int, wanted: int) -> None:
        self._context, self._step, self._wave, self._wanted = context, step, wave, wanted
        self._answered = 0
        self._reported_at = context.clock() - PROGRESS_SECONDS

    def __call__(self) -> None:
        self._answered += 1
        now = self._context.clock()
        if now - self._reported_at >= PROGRESS_SECONDS or self._answered == self._wanted:
            self._reported_at = now
            self._context.progress(
                {
                    "stage": self._step.stage.value,
                    "iteration": self._step.iteration,
                    "wave": self._wave,
                    "step": self._answered,
                    "steps": self._wanted,
                }
            )
