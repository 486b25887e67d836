"""PURE: plans one round of generation and judges its answers.

It decides which rows to request, builds each request to the teacher, and lets the filters decide which answers become
rows.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.augment import prompt
from llm2llm.augment.filters import Filters, Verdict, build_filters
from llm2llm.errors import LowAcceptance
from llm2llm.records import Example, Lineage, Record, Usage, digest_of
from llm2llm.tasks import task_of
from llm2llm.tasks.presets import instructions_for
from llm2llm.teacher.ledger import LedgerRecord, Request

FEWEST_FOR_A_SHARE = 10
"""Below this number of answers a share means nothing: one unlucky row must not fail a run that has one mistake left."""
SAMPLES_TOLD = 3
WAVES = 3
"""Maximum number of times that one row is requested."""
TRIAL = 20
"""Number of rows that are requested first: if none of them can be kept, the others are not paid for. A round that may
keep less than TRIAL_FLOOR of its rows has a longer trial."""
TRIAL_FLOOR = 0.1
_TRIAL_ERROR = 0.01
"""Probability that a longer trial ends a round which would have kept just what spec.generate.filters.minAcceptance
asks for."""


class RejectedRow(Record):
    """One answer that a filter rejected, with the reason; `text` is the teacher's answer."""

    id: str
    reason: str
    detail: str
    text: str
    fields: dict[str, str] | None = None
    completion: str = ""
    lineage: Lineage


@dataclass(frozen=True)
class RoundInputs:
    """The inputs of a round, read from committed outputs."""

    seeds: Sequence[Example]
    held_out: Sequence[Example]
    """Rows of the evaluation and test sets: nothing similar may be trained on."""
    mistakes: Sequence[prompt.Mistake]
    synthetic: Sequence[Example]
    paid: Usage
    """Teacher usage of the committed steps before this one."""
    by_seed: Mapping[str, Sequence[Example]]
    """The rows of `synthetic` that were written for each seed example."""

    def written_for(self, example: Example) -> Sequence[Example]:
        """Returns the newest rows that the teacher wrote in earlier iterations for the seed of this row."""
        relatives = [row for row in self.by_seed.get(example.root, ()) if row.id != example.id]
        return relatives[-prompt.EARLIER_SHOWN :]


@dataclass
class Item:
    """One wanted row, with its rejected answers so far and the accepted one."""

    mistake: prompt.Mistake
    sample: int
    samples: int
    refused: list[str] = field(default_factory=list)
    row: Example | None = None


@dataclass
class Round:
    """One round of generation. `begin_round` creates it."""

    spec: AugmentationRunSpec
    iteration: int
    inputs: RoundInputs
    filters: Filters
    items: list[Item]
    rejected: list[RejectedRow] = field(default_factory=list)
    answers: list[LedgerRecord] = field(default_factory=list)
    finished: bool = False
    """Another run finished this round: its answers are judged anew, and nothing more is requested."""

    @property
    def choice(self) -> bool:
        """Returns whether the teacher is given the label and writes only the input."""
        return task_of(self.spec.task).choice

    @property
    def judged(self) -> int:
        """Returns the number of judged answers."""
        return len(self.answers)

    @property
    def kept(self) -> list[Example]:
        return [item.row for item in self.items if item.row]

    def request(self, item: Item, wave: int) -> Request:
        """Returns the request for this row in this wave."""
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

    def row_name(self, item: Item) -> str:
        """Returns the id that the row gets."""
        return f"s{self.iteration}-{item.mistake.example.id}-{item.sample}"

    def judge_wave(self, items: Sequence[Item], records: Sequence[LedgerRecord]) -> list[Item]:
        """Judges the answers to a wave's requests, in (seed, sample) order; returns the items of the next wave."""
        for item, record in zip(items, records, strict=True):
            self.judge(item, record)
        return [item for item in items if item.row is None]

    def judge(self, item: Item, record: LedgerRecord) -> None:
        """Keeps the answer as a row, or records why not; has to be called in (seed, sample) order."""
        verdict = self.filters.judge(record.text, record.finish, item.mistake.example)
        self.answers.append(record)
        name = self.row_name(item)
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
        """Raises LowAcceptance if the filters reject nearly everything: the teacher is not up to this task.

        A share of few answers means nothing, but a finished round without one answer that could be parsed does.
        """
        floor = Decimal(self.spec.generate.filters.min_acceptance)
        kept = len(self.kept)
        unparsable = over and {row.reason for row in self.rejected} == {"schema"}
        if kept < floor * self.judged and (self.judged >= FEWEST_FOR_A_SHARE or (unparsable and not kept)):
            raise self._low_acceptance(
                f"the filters kept {kept} of {self.judged} rows ({self.refusals()}), below "
                f"spec.generate.filters.minAcceptance {floor}"
            )

    def trial_items(self) -> list[Item]:
        """Returns the rows to request first, from all over the round; none if the trial would save little."""
        trial = _trial_rows(float(self.spec.generate.filters.min_acceptance))
        if not trial or 2 * len(self.items) < 3 * trial:
            return []
        return [self.items[len(self.items) * part // trial] for part in range(trial)]

    def check_trial(self, items: Sequence[Item], records: Sequence[LedgerRecord]) -> None:
        """Raises LowAcceptance if the filters keep none of these answers; each is judged as if it came first."""
        judge = self.filters.judge
        answers = list(zip(items, records, strict=True))
        if not answers or any(judge(record.text, record.finish, item.mistake.example).kept for item, record in answers):
            return
        for item, record in answers:
            self.judge(item, record)
        raise self._low_acceptance(
            f"the filters kept none of the first {len(answers)} rows ({self.refusals()}), so the other "
            f"{len(self.items) - len(answers)} of this round were not requested"
        )

    def _low_acceptance(self, finding: str) -> LowAcceptance:
        samples = "; ".join(
            f"{row.reason}: {row.detail[:160]} <- {row.text[:160]!r}" for row in self.rejected[:SAMPLES_TOLD]
        )
        return LowAcceptance(
            f"{finding}. For example: {samples}. Recorded answers get the same verdict again, so raising spec.retry "
            "alone does not help: change the instructions, the teacher's model or parameters, or the filters in a new "
            "run (with reuseFrom, the new filters judge the same answers)"
        )

    def refusals(self) -> str:
        """Describes how many answers were rejected for which reason, and how many kept rows nearly equal their seed."""
        reasons = Counter(row.reason for row in self.rejected)
        parts = [f"{reason} {number}" for reason, number in sorted(reasons.items())] or ["none rejected"]
        near = sum(row.lineage.scores["withinOneWordOfSeed"] for row in self.kept if row.lineage)
        return ", ".join(parts) + (f"; {near} kept rows differ from their own seed by at most one word" if near else "")


def begin_round(spec: AugmentationRunSpec, iteration: int, inputs: RoundInputs) -> Round:
    """Creates the round of an iteration with all its items, none of them requested yet."""
    filters = build_filters(
        seeds=inputs.seeds,
        evaluation=inputs.held_out,
        synthetic=inputs.synthetic,
        threshold=float(spec.generate.filters.dedup.threshold),
        ngram=spec.generate.filters.decontaminate.ngram,
        invalid_reason=task_of(spec.task).invalid_reason,
        choice=task_of(spec.task).choice,
    )
    return Round(spec, iteration, inputs, filters, _items_to_request(spec, iteration, inputs))


def _trial_rows(floor: float) -> int:
    """Returns how many rows of which none is kept show that the round keeps less than `floor`; 0 if no number does."""
    if floor >= TRIAL_FLOOR:
        return TRIAL
    return math.ceil(math.log(_TRIAL_ERROR) / math.log1p(-floor)) if floor else 0


def _items_to_request(spec: AugmentationRunSpec, iteration: int, inputs: RoundInputs) -> list[Item]:
    """Returns the rows to request: a number for each mistake, or for each of some randomly drawn seed examples.

    Without mistakes an untargeted round has the rows of one mistake: an empty round would train the same student again.
    """
    untargeted = spec.generate.strategy == "Untargeted"
    mistakes = max(len(inputs.mistakes), 1 if untargeted else 0)
    rows = spec.generate.rows_per_round or spec.generate.examples_per_mistake * mistakes
    pool = list(inputs.mistakes)
    if untargeted:
        rng = random.Random(digest_of([spec.random_seed, iteration, "untargeted"]))  # noqa: S311
        pool = [prompt.Mistake(seed, None) for seed in rng.sample(inputs.seeds, len(inputs.seeds))]
    rows_each, remainder = divmod(rows, len(pool)) if pool else (0, 0)
    counts = [rows_each + (index < remainder) for index in range(len(pool))]
    return [
        Item(mistake, sample, count)
        for mistake, count in zip(pool, counts, strict=True)
        for sample in range(1, count + 1)
    ]


def _lineage(example: Example, record: LedgerRecord, verdict: Verdict) -> Lineage:
    """Returns where a row comes from: `seed` is the seed row it goes back to, `parent` the row it was written for."""
    return Lineage(
        seed=example.root,
        parent=example.id,
        iteration=record.iteration,
        sample=record.sample,
        wave=record.wave,
        teacher=record.model,
        prompt_digest=record.prompt_digest,
        request_key=record.key,
        scores=verdict.scores,
    )
