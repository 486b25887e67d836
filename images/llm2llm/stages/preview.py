"""Shows what a run sends and receives for a few seed rows, and keeps none of it (`llm2llm preview`).

It follows Prepare, so that everything a run needs has been found to work, and asks as a first round would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in
from llm2llm.augment import prompt
from llm2llm.augment.filters import Verdict
from llm2llm.data.rows import EVALUATION, SEED, TEST, read_examples, read_resolved
from llm2llm.errors import Transient
from llm2llm.loop.stages import INPUTS
from llm2llm.models.fetch import fetch_model
from llm2llm.models.tokenizer import StudentTokenizer, load_tokenizer
from llm2llm.records import Example, Manifest, Usage
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.round import Item, Round, RoundInputs, begin_round
from llm2llm.storage import Store
from llm2llm.tasks import task_of
from llm2llm.teacher.client import RateLimited, TeacherUnavailable
from llm2llm.teacher.connection import connect
from llm2llm.teacher.ledger import Request
from llm2llm.teacher.reply import Reply


@dataclass(frozen=True)
class Written:
    """What the teacher wrote for a row.

    Attributes:
        text: its answer, with the run's secrets hidden.
        verdict: of the run's filters.
        usage: what the request cost.
    """

    text: str
    verdict: Verdict
    usage: Usage


@dataclass(frozen=True)
class PreviewedRow:
    """A seed row on its way through a run.

    Attributes:
        example: the row.
        prompt: what the student reads, in the form of its chat template if it has one.
        prompt_tokens, completion_tokens: their numbers for the student.
        messages: of the request to the teacher, who in a run is also told the student's wrong answer.
        written: None where the teacher is no endpoint, or no round is planned.
    """

    example: Example
    prompt: str
    prompt_tokens: int
    completion_tokens: int
    messages: Sequence[Mapping[str, str]]
    written: Written | None = None


def preview_rows(step: Step, store: Store, context: StepContext, number: int) -> list[PreviewedRow]:
    """Has the teacher write one row for each of some seed rows from all over the set, and judges them.

    Args:
        step: Prepare, which is committed.
        store: the run's; nothing is written to it.
        context: of the step.
        number: of seed rows.

    Raises:
        Transient: the endpoint cannot be reached, or asks for a pause.
        AuthenticationError, TeacherQuotaExhausted, ConfigurationError: it refuses.
    """
    spec, manifest = step.spec, manifest_in(store, INPUTS)
    assert manifest is not None  # noqa: S101 - see the argument
    seeds = read_examples(store, manifest, SEED)
    held_out = [row for name in (EVALUATION, TEST) for row in read_examples(store, manifest, name)]
    round_ = begin_round(spec, 0, RoundInputs(seeds, held_out, mistakes=(), synthetic=(), paid=Usage(), by_seed={}))
    number = min(number, len(seeds))
    chosen = [seeds[len(seeds) * part // number] for part in range(number)]
    requests = [round_.request(Item(prompt.Mistake(seed, None), sample=1, samples=1), 0) for seed in chosen]
    written: list[Written] | list[None] = [None] * number
    if spec.generate.teacher.source is None and spec.max_iterations > 1:
        replies = asyncio.run(_ask(spec, context, requests))
        written = [_judge(round_, seed, *reply) for seed, reply in zip(chosen, replies, strict=True)]
    tokens = _tokenizer(spec, manifest, store, context)
    rows = zip(chosen, requests, written, strict=True)
    return [_row(spec, tokens, seed, request, answer) for seed, request, answer in rows]


async def _ask(spec: AugmentationRunSpec, context: StepContext, requests: Sequence[Request]) -> list[tuple[Reply, str]]:
    """Sends the requests side by side, as many at once as the run allows; returns replies and what of them is shown."""
    slots = asyncio.Semaphore(spec.generate.limits.max_concurrent_requests)
    async with connect(spec.generate.teacher, context.environ, lambda _: None) as client:

        async def ask(request: Request) -> tuple[Reply, str]:
            async with slots:
                try:
                    reply = await client.complete(request.messages, request.schema, suspect_row=True)
                    return reply, client.mask(reply.text)
                except (RateLimited, TeacherUnavailable) as error:
                    raise Transient(str(error)) from error

        return list(await asyncio.gather(*map(ask, requests)))


def _judge(round_: Round, seed: Example, reply: Reply, shown: str) -> Written:
    """Judges an answer after those before it: a copy of one of them is rejected, as in a round."""
    verdict = round_.filters.judge(reply.text, reply.finish, seed)
    if verdict.kept and verdict.fields is not None:
        row = Example(id=f"preview-{seed.id}", fields=verdict.fields, completion=verdict.completion)
        round_.filters.know(row)
    return Written(shown, verdict, reply.usage or Usage(teacher_requests=1))


def _tokenizer(spec: AugmentationRunSpec, manifest: Manifest, store: Store, context: StepContext) -> StudentTokenizer:
    revision = read_resolved(manifest).model_revision
    folder = fetch_model(spec, revision, context.environ, context.scratch, weights=False, store=store)
    return load_tokenizer(folder, chat=spec.task.chat_template == "Auto", trusted=spec.student.trust_remote_code)


def _row(
    spec: AugmentationRunSpec, tokens: StudentTokenizer, seed: Example, request: Request, written: Written | None
) -> PreviewedRow:
    text = task_of(spec.task).render(seed.fields)
    [ids], [completion] = tokens.prompts([text]), tokens.completions([seed.completion])
    shown = tokens.chat(text) if tokens.chat is not None else text
    return PreviewedRow(seed, shown, len(ids), len(completion), request.messages, written)
