"""Has the teacher write one real row before a run begins, and judges it as generation would (stage Prepare).

A teacher that answers a small question well may still write prose where a row is asked for, and a run would find that
out after its first training, with a whole round paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.augment import prompt
from llm2llm.augment.parse import Unparsable, parse
from llm2llm.errors import StepError
from llm2llm.layout import ledger_folder
from llm2llm.loop.stages import INPUTS
from llm2llm.records import Example, Usage, to_jsonl
from llm2llm.runtime.context import StepContext
from llm2llm.stages.round import Item, Round, RoundInputs, begin_round
from llm2llm.storage import Store
from llm2llm.teacher.ledger import LedgerRecord, read_segments, usage_of
from llm2llm.teacher.probe import ATTEMPTS, CONNECTION, Question, probe


def probe_teacher(
    spec: AugmentationRunSpec,
    seeds: Sequence[Example],
    held_out: Sequence[Example],
    store: Store,
    context: StepContext,
    tell: Callable[[str], None],
) -> str:
    """Asks for one row, or for several until one is kept, and records the requests like any paid ones.

    `context.usage` becomes the cost of the requests of all attempts, however this one ends.

    Args:
        spec: of the run.
        seeds: the seed set; without usable rows the teacher gets a small question.
        held_out: the rows of the other sets.
        store: the run's.
        context: of the step.
        tell: receives the changes that the endpoint requires; generation learns them again with its first request.

    Returns:
        A warning if the filters reject what the teacher wrote, else ''.

    Raises:
        StepError: the endpoint refuses, or writes nothing that can be read as a row.
    """
    folder = ledger_folder(INPUTS)
    recorded: list[LedgerRecord] = []

    def record(cost: Usage) -> None:
        request = LedgerRecord(
            key="probe",
            iteration=0,
            seed="",
            sample=len(recorded),
            wave=0,
            model=spec.generate.teacher.model,
            input_tokens=cost.teacher_input_tokens,
            output_tokens=cost.teacher_output_tokens,
        )
        store.write(f"{folder}/{context.pod_uid}/{len(recorded):06d}.jsonl", to_jsonl([request]))
        recorded.append(request)

    context.confirm()
    try:
        questions = row_questions(spec, seeds, held_out) if seeds else (_SMALL,)
        warning = probe(spec.generate, context.environ, tell, record, questions)
    except BaseException:
        with suppress(StepError):  # an unreachable store is not what ended the probe
            context.usage = usage_of(read_segments(store, folder))
        raise
    context.usage = usage_of(read_segments(store, folder))
    return warning


def row_questions(
    spec: AugmentationRunSpec, seeds: Sequence[Example], held_out: Sequence[Example]
) -> tuple[Question, ...]:
    """Returns requests for one row each, like seed rows from all over the set, with the verdict of the filters."""
    inputs = RoundInputs(seeds, held_out, mistakes=(), synthetic=(), paid=Usage(), by_seed={})
    round_ = begin_round(spec, 0, inputs)
    return tuple(_question(round_, seeds[len(seeds) * part // ATTEMPTS]) for part in range(ATTEMPTS))


def _has_object(text: str, _: str) -> str:
    parse(text, (), choice=True)
    return ""


_SMALL = replace(CONNECTION, judge=_has_object)


def _question(round_: Round, seed: Example) -> Question:
    request = round_.request(Item(prompt.Mistake(seed, None), sample=1, samples=1), 0)

    def judge(text: str, finish: str) -> str:
        verdict = round_.filters.judge(text, finish, seed)
        if verdict.fields is None:
            raise Unparsable(verdict.detail)
        return "" if verdict.kept else f"{verdict.reason}: {verdict.detail}"

    return Question(request.messages, request.schema, judge)
