"""PURE: one round of generation: which rows are asked for, with which words, and which of the answers become rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.augment import prompt
from llm2llm.augment.filters import Filters, Verdict, build_filters
from llm2llm.errors import LowAcceptance
from llm2llm.records import Example, Lineage, Record, Usage, digest_of
from llm2llm.tasks import task_of
from llm2llm.tasks.presets import instructions_for
from llm2llm.teacher.ledger import LedgerRecord, Request

FEWEST_FOR_A_SHARE = 10
"""Answers below which a share says nothing: one unlucky row must not fail a run that has one mistake left."""
SAMPLES_TOLD = 3


class RejectedRow(Record):
    """One answer that a filter refused, with the reason; `text` is what the teacher wrote."""

    id: str
    reason: str
    detail: str
    text: str
    fields: dict[str, str] | None = None
    completion: str = ""
    lineage: Lineage


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
                f"spec.generate.filters.minAcceptance {floor}. For example: {samples}. Recorded answers get the same "
                "verdict again, so raising spec.retry alone does not help: change the instructions, the teacher's "
                "model or parameters, or the filters in a new run (with reuseFrom, the new filters judge the same "
                "answers)"
            )

    def refusals(self) -> str:
        """How many were refused for which reason, and how many kept rows are almost their own seed."""
        reasons = Counter(row.reason for row in self.rejected)
        told = [f"{reason} {number}" for reason, number in sorted(reasons.items())] or ["none rejected"]
        near = sum(row.lineage.scores["withinOneWordOfSeed"] for row in self.kept if row.lineage)
        return ", ".join(told) + (f"; {near} kept rows differ from their own seed by at most one word" if near else "")


def begin_round(spec: AugmentationRunSpec, iteration: int, inputs: Inputs) -> Round:
    """The round of an iteration with all its items, none of them asked for yet."""
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


def _items_to_request(spec: AugmentationRunSpec, iteration: int, inputs: Inputs) -> list[Item]:
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


def _lineage(example: Example, record: LedgerRecord, verdict: Verdict) -> Lineage:
    """Where a row comes from: `seed` is the seed row it goes back to, `parent` the row that it was written for."""
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
