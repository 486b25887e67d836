"""Stage Generate: from the mistakes of this iteration to new training examples (LLM2LLM, algorithm 1).

A round is waves. The requests of wave 0 are a pure function of committed inputs; once all of them are answered, the
filters judge the answers in (seed, sample) order, and what was refused forms the next wave. So a round that was killed
and begun again, on whatever pod and with whatever timing, is the same round: the ledger has its answers already.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.commit import commit, parent_manifest
from llm2llm.artifacts.reuse import answers_of_others
from llm2llm.augment import prompt
from llm2llm.augment.filters import Filters, Verdict, filters_for
from llm2llm.budget import Spent
from llm2llm.data.rows import EVALUATION, SEED, SYNTHETIC, TEST, predictions_in
from llm2llm.data.rows import frozen as frozen_rows
from llm2llm.errors import LowAcceptance, StepError
from llm2llm.layout import INPUTS, ledger_folder, step_folder
from llm2llm.records import (
    POOL,
    Example,
    Manifest,
    Record,
    Report,
    Stage,
    StepDocument,
    Usage,
    digest_of,
    to_jsonl,
    total,
)
from llm2llm.report.views import write_views
from llm2llm.runtime.context import StepContext
from llm2llm.stages.teacher_endpoint import asked
from llm2llm.storage import Store
from llm2llm.tasks import task_of
from llm2llm.tasks.presets import instructions_for
from llm2llm.teacher.client import connect
from llm2llm.teacher.ledger import Ledger, LedgerRecord, Request, merged, open_ledger, read_segments, usage_of
from llm2llm.teacher.limits import Limiter
from llm2llm.teacher.pacing import Pace
from llm2llm.teacher.requests import PaidTeacher
from llm2llm.teacher.reservations import Purse

WAVES = 3
"""How often one row is asked for, at most."""
FEWEST_FOR_A_SHARE = 10
"""Answers below which a share says nothing: one unlucky row must not fail a run that has one mistake left."""
SAMPLES_TOLD = 3
PROGRESS_SECONDS = 1.0


class RejectedRow(Record):
    """One answer that a filter refused, with the reason; `text` is what the teacher wrote."""

    id: str
    reason: str
    detail: str
    text: str
    fields: dict[str, str] | None = None
    completion: str = ""
    lineage: dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """What a round depends on, read from committed outputs."""

    seeds: Sequence[Example]
    held_out: Sequence[Example]
    """Rows of the evaluation and the test set: nothing like them may be trained on."""
    mistakes: Sequence[prompt.Mistake]
    synthetic: Sequence[Example]
    paid: Usage
    """What the committed steps before this one paid the teacher."""
    by_seed: Mapping[str, Sequence[Example]]
    """The rows of `synthetic` that were written for each seed example."""

    def written_for(self, example: Example) -> Sequence[Example]:
        """The newest of what the teacher wrote in earlier iterations for the seed that this row goes back to."""
        family = [row for row in self.by_seed.get(example.root, ()) if row.id != example.id]
        return family[-prompt.EARLIER_SHOWN :]


@dataclass
class Item:
    """One row that is wanted, and what came of it so far."""

    mistake: prompt.Mistake
    sample: int
    samples: int
    refused: list[str] = field(default_factory=list)
    row: Example | None = None


@dataclass
class Round:
    """One round of generation. Made by `run`."""

    spec: AugmentationRunSpec
    iteration: int
    inputs: Inputs
    filters: Filters
    items: list[Item]
    rejected: list[RejectedRow] = field(default_factory=list)
    answers: list[LedgerRecord] = field(default_factory=list)
    finished: bool = False
    """Another run finished this round: its answers are judged anew, and nothing more is asked for."""

    @property
    def choice(self) -> bool:
        """The label is given to the teacher, who writes only the input."""
        return task_of(self.spec.task).choice

    @property
    def judged(self) -> int:
        """How many answers."""
        return len(self.answers)

    @property
    def kept(self) -> list[Example]:
        return [item.row for item in self.items if item.row]

    def request(self, item: Item, wave: int) -> Request:
        """What is asked for this row in this wave."""
        example = item.mistake.example
        rng = random.Random(digest_of([self.spec.random_seed, self.iteration, example.id, item.sample]))  # noqa: S311
        assignment = prompt.Assignment(
            mistake=item.mistake,
            sample=item.sample,
            samples=item.samples,
            shown=prompt.examples_to_show(self.inputs.seeds, example, rng),
            earlier=self.inputs.written_for(example),
            refused=item.refused,
        )
        return Request(
            seed=example.id,
            seed_digest=digest_of([example.fields, example.completion]),
            iteration=self.iteration,
            sample=item.sample,
            wave=wave,
            messages=prompt.messages(
                assignment, instructions_for(self.spec.task, self.spec.generate.instructions), choice=self.choice
            ),
            schema=prompt.response_schema(example, choice=self.choice),
        )

    def judge(self, item: Item, record: LedgerRecord) -> None:
        """Keeps the answer as a row, or notes why not; has to be called in (seed, sample) order."""
        verdict = self.filters.judge(record.text, record.finish, item.mistake.example)
        self.answers.append(record)
        name = f"s{self.iteration}-{item.mistake.example.id}-{item.sample}"
        lineage = _lineage(item.mistake.example, record, verdict)
        if verdict.kept and verdict.fields is not None:
            item.row = Example(id=name, fields=verdict.fields, completion=verdict.completion, lineage=lineage)
            self.filters.know(item.row)
            return
        item.refused.append(prompt.refusal(verdict.fields, record.text, verdict.detail))
        self.rejected.append(
            RejectedRow(
                id=name,
                reason=verdict.reason,
                detail="; ".join(filter(None, (verdict.detail, verdict.note))),
                text=record.text,
                fields=verdict.fields,
                completion=verdict.completion,
                lineage=lineage,
            )
        )

    def check_acceptance(self, *, over: bool = False) -> None:
        """Raises LowAcceptance where the filters refuse nearly everything: the teacher is not up to this task.

        A share of a few answers says nothing; but a round that is over, and had not one that could be read, does.
        """
        floor = float(self.spec.generate.filters.min_acceptance)
        kept = len(self.kept)
        unread = over and {row.reason for row in self.rejected} == {"schema"}
        if kept < floor * self.judged and (self.judged >= FEWEST_FOR_A_SHARE or (unread and not kept)):
            samples = "; ".join(
                f"{row.reason}: {row.detail[:160]} <- {row.text[:160]!r}" for row in self.rejected[:SAMPLES_TOLD]
            )
            raise LowAcceptance(
                f"the filters kept {kept} of {self.judged} rows ({self.refusals()}), below "
                f"spec.generate.filters.minAcceptance {floor}. For example: {samples}. Answers on record get the same "
                "verdict again, so spec.retry alone cannot help: change the instructions, the teacher's model or "
                "parameters, or the filters in a new run (with reuseFrom, other filters judge the same answers)"
            )

    def refusals(self) -> str:
        """How many were refused for which reason, and how many kept rows are almost their own seed."""
        reasons = Counter(row.reason for row in self.rejected)
        told = [f"{reason} {number}" for reason, number in sorted(reasons.items())] or ["none refused"]
        near = sum((row.lineage or {})["scores"]["withinOneWordOfSeed"] for row in self.kept)
        return ", ".join(told) + (f"; {near} kept within one word of their own seed" if near else "")


def run(step: StepDocument, store: Store, context: StepContext) -> Report:
    """Buys, filters and commits the synthetic set of one iteration.

    Raises:
        AuthenticationError, TeacherQuotaExhausted, ConfigurationError, Transient: the teacher refuses.
        LowAcceptance: the filters refused nearly everything.
        Terminated: SIGTERM came; what was answered until then is recorded.
    """
    spec = AugmentationRunSpec.model_validate(step.spec)
    with context.timed("load"):
        inputs = _read_inputs(step, store)
        round_ = _begin(spec, step.iteration, inputs)
    folder = ledger_folder(step_folder(Stage.GENERATE, step.iteration))
    try:
        with context.timed("compute"):
            replayed = asyncio.run(_play(round_, step, store, context))
        round_.check_acceptance(over=True)
    except BaseException:
        with suppress(StepError):  # that the store is away, too, is not what ended this attempt
            context.usage = usage_of(read_segments(store, folder))
        raise
    segments = list(read_segments(store, folder))
    files = {
        "synthetic.jsonl": to_jsonl(round_.kept),
        "rejected.jsonl": to_jsonl(round_.rejected),
        # First what was judged: a pod beside this one may have other answers to the same requests.
        "ledger.jsonl": merged([*round_.answers, *segments, *replayed]),
    }
    report = Report(
        run_uid=step.run_uid,
        stage=step.stage,
        iteration=step.iteration,
        attempt=step.attempt,
        generated=round_.judged,
        kept=len(round_.kept),
        usage=usage_of(segments),
        message=f"kept {len(round_.kept)} of {round_.judged} rows ({round_.refusals()})"
        + ("; another run finished this round, so its answers alone were judged" if round_.finished else ""),
    )
    report = commit(store, step, context, files, report)
    write_views(step, store, context)
    return report


async def _play(round_: Round, step: StepDocument, store: Store, context: StepContext) -> list[LedgerRecord]:
    """All waves of a round; returns the answers of other runs that it used."""
    ceilings = round_.spec.generate.limits
    limiter = Limiter(
        ceilings.max_concurrent_requests, Pace(ceilings.requests_per_minute), Pace(ceilings.tokens_per_minute)
    )
    folder = ledger_folder(step_folder(Stage.GENERATE, step.iteration))
    others = answers_of_others(step, context)
    ledger = open_ledger(store, folder, context.pod_uid, lambda: limiter.in_flight, others.by_key)

    def tell(message: str) -> None:
        context.progress({"stage": step.stage.value, "iteration": step.iteration, "message": message})

    with asked(round_.spec, step, store, context, tell) as whom:

        def stopping() -> bool:
            whom.check()
            return context.stopping.is_set()

        async with connect(whom.teacher, whom.environ, tell, whom.identity) as client:
            teacher = PaidTeacher(client, limiter, ledger, _purse(round_, step, ledger))
            teacher.waits = lambda left: tell(f"waits up to {left:.0f} s {teacher.reason}")
            pending = round_.items
            round_.finished = others.hold_round(teacher.key(round_.request(item, 0)) for item in pending)
            for wave in range(WAVES):
                if round_.finished:
                    pending = [item for item in pending if teacher.known(round_.request(item, wave))]
                requests = [round_.request(item, wave) for item in pending]
                if not all(map(teacher.known, requests)):
                    await asyncio.to_thread(whom.start)
                teacher.answered = _Progress(context, step, wave, len(requests))
                records = await teacher.answers(requests, stopping)
                for item, record in zip(pending, records, strict=True):
                    round_.judge(item, record)
                pending = [item for item in pending if item.row is None]
                if not pending:
                    break
                round_.check_acceptance()  # garbage is not asked for again
    return list(ledger.replayed.values())


def _purse(round_: Round, step: StepDocument, ledger: Ledger) -> Purse:
    """What the budget leaves: less what earlier steps paid, and what this step's earlier attempts did."""
    parameters = round_.spec.generate.teacher.parameters
    limit = parameters.get("max_completion_tokens") or parameters.get("max_tokens") or ""
    spent = Spent(total(round_.inputs.paid, usage_of(ledger.records)), step.gpu_seconds)
    return Purse(round_.spec.budget, spent, int(limit) if limit.isdigit() else 0)


class _Progress:
    """One line a second: how many rows of this wave were answered by the teacher."""

    def __init__(self, context: StepContext, step: StepDocument, wave: int, wanted: int) -> None:
        self._context, self._step, self._wave, self._wanted = context, step, wave, wanted
        self._answered = 0
        self._told = context.clock() - PROGRESS_SECONDS

    def __call__(self) -> None:
        self._answered += 1
        now = self._context.clock()
        if now - self._told >= PROGRESS_SECONDS or self._answered == self._wanted:
            self._told = now
            self._context.progress(
                {
                    "stage": self._step.stage.value,
                    "iteration": self._step.iteration,
                    "wave": self._wave,
                    "step": self._answered,
                    "steps": self._wanted,
                }
            )


def _begin(spec: AugmentationRunSpec, iteration: int, inputs: Inputs) -> Round:
    filters = filters_for(
        seeds=inputs.seeds,
        evaluation=inputs.held_out,
        synthetic=inputs.synthetic,
        threshold=float(spec.generate.filters.dedup.threshold),
        ngram=spec.generate.filters.decontaminate.ngram,
        problem_with=task_of(spec.task).problem_with,
        choice=task_of(spec.task).choice,
    )
    return Round(spec, iteration, inputs, filters, _wanted(spec, iteration, inputs))


def _wanted(spec: AugmentationRunSpec, iteration: int, inputs: Inputs) -> list[Item]:
    """The rows to ask for: so many for each mistake, or for each of some seed examples drawn at random.

    Without mistakes an untargeted round has the rows of one: an empty one would train the same student again.
    """
    untargeted = spec.generate.strategy == "Untargeted"
    mistakes = max(len(inputs.mistakes), 1 if untargeted else 0)
    rows = spec.generate.rows_per_round or spec.generate.examples_per_mistake * mistakes
    pool = list(inputs.mistakes)
    if untargeted:
        rng = random.Random(digest_of([spec.random_seed, iteration, "untargeted"]))  # noqa: S311
        pool = [prompt.Mistake(seed, None) for seed in rng.sample(inputs.seeds, len(inputs.seeds))]
    each, further = divmod(rows, len(pool)) if pool else (0, 0)
    counts = [each + (place < further) for place in range(len(pool))]
    return [
        Item(mistake, sample, count)
        for mistake, count in zip(pool, counts, strict=True)
        for sample in range(1, count + 1)
    ]


def _read_inputs(step: StepDocument, store: Store) -> Inputs:
    frozen = parent_manifest(store, step, INPUTS)
    seeds = frozen_rows(store, frozen, SEED)
    evaluated = parent_manifest(store, step, step_folder(Stage.EVALUATE, step.iteration))
    earlier = [parent_manifest(store, step, step_folder(Stage.GENERATE, i)) for i in range(step.iteration)]
    synthetic = [row for manifest in earlier for row in frozen_rows(store, manifest, SYNTHETIC)]
    by_seed: dict[str, list[Example]] = defaultdict(list)
    for row in synthetic:
        by_seed[row.root].append(row)
    return Inputs(
        seeds=seeds,
        held_out=[row for name in (EVALUATION, TEST) for row in frozen_rows(store, frozen, name)],
        mistakes=_mistakes(store, evaluated, [*seeds, *synthetic]),
        synthetic=synthetic,
        paid=total(*(manifest.report.usage for manifest in (frozen, *earlier))),
        by_seed=by_seed,
    )


def _mistakes(store: Store, evaluated: Manifest, rows: Sequence[Example]) -> list[prompt.Mistake]:
    """The rows that the student was asked and got wrong, the seed rows first."""
    outputs = {
        prediction.id: prediction.output
        for dataset in POOL
        for prediction in predictions_in(store, evaluated, dataset)
        if not prediction.correct
    }
    return [prompt.Mistake(row, outputs[row.id]) for row in rows if row.id in outputs]


def _lineage(example: Example, record: LedgerRecord, verdict: Verdict) -> dict[str, Any]:
    """Where a row comes from: `seed` is the seed row it goes back to, `parent` the row that it was written for."""
    return {
        "seed": example.root,
        "parent": example.id,
        "iteration": record.iteration,
        "sample": record.sample,
        "wave": record.wave,
        "teacher": record.model,
        "promptDigest": record.prompt_digest,
        "requestKey": record.key,
        "scores": verdict.scores,
    }
