"""Has the teacher answer a small question or write one row before a run begins, and judges it as generation would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm2llm.api import generate as api_generate
from llm2llm.errors import ConfigurationError, Transient
from llm2llm.records import Usage
from llm2llm.teacher.client import RateLimited, TeacherClient, TeacherUnavailable
from llm2llm.teacher.connection import connect
from llm2llm.teacher.reply import CONTENT_FILTER, CONTEXT_LENGTH, EMPTY, REFUSED, Reply

ATTEMPTS = 3
_MESSAGE_LIMIT = 300
_REFUSALS = (REFUSED, CONTEXT_LENGTH, CONTENT_FILTER)
"""What a row meets that the endpoint does not answer."""


@dataclass(frozen=True)
class Question:
    """A request, and how its answer is judged.

    Attributes:
        messages: with the same roles as in generation.
        schema: of the answer.
        judge: gets the answer's text and finish; returns why the filters reject the row, '' if they keep it, and raises
            ValueError if there is no row in it.
    """

    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any]
    judge: Callable[[str, str], str] = lambda *_: ""
    of_row: bool = True


CONNECTION = Question(
    (
        {"role": "system", "content": "You check a connection. Answer with one JSON object and nothing else."},
        {"role": "user", "content": 'Answer with the JSON object {"ready": "yes"}.'},
    ),
    {
        "type": "object",
        "properties": {"ready": {"type": "string"}},
        "required": ["ready"],
        "additionalProperties": False,
    },
    of_row=False,
)
"""Shows that address, key, model, roles and parameters work where no row does."""


def probe(
    generate: api_generate.Generate,
    environ: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
    record: Callable[[Usage], None] = lambda _: None,
    questions: Sequence[Question] = (CONNECTION,),
) -> str:
    """Sends a request to show that generation will work (stage Prepare).

    An answer that generation could not use is asked for again, since a model may slip once, up to ATTEMPTS times. A row
    that the endpoint refuses costs no more than it would in generation: the next one is tried. If it refuses all of
    them, CONNECTION shows whether it is the rows that it refuses.

    Args:
        generate: the settings.
        environ: has the key.
        tell: receives changes of the requests' form.
        record: receives the cost of each request that was, or may have been, paid for, before its answer is judged.
        questions: are asked in turn.

    Returns:
        A warning if the endpoint answers, but refuses the rows, or the filters reject all answers that generation could
        read; else ''.

    Raises:
        Transient: the endpoint cannot be reached, asks for a pause, or returns something that is not a completion,
            before there was an answer that generation could read.
        AuthenticationError, TeacherQuotaExhausted, ConfigurationError: the endpoint refuses the request, or
            generation could not use any of its answers.
    """
    return asyncio.run(_probe(generate.teacher, environ, tell, record, questions))


async def _probe(
    teacher: api_generate.Teacher,
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    record: Callable[[Usage], None],
    questions: Sequence[Question],
) -> str:
    found = _Findings()
    async with connect(teacher, environ, tell) as client:
        for attempt in range(ATTEMPTS):
            question = questions[attempt % len(questions)]
            try:
                reply = await _ask(client, question, record)
            except Transient:
                if found.rejections:
                    break
                raise
            if question.of_row and reply.finish in _REFUSALS:
                found.refusals.append(_defect(reply, client.mask))
            elif found.add(reply, question, client.mask):
                return ""
        if not found.rejections and not found.defects:
            found.add(await _ask(client, CONNECTION, record), CONNECTION, client.mask)
    return found.conclude(f"the teacher {client.where}")


@dataclass
class _Findings:
    """Why there is no row yet: `refusals` of the endpoint, answers with `defects`, and `rejections` of the filters."""

    refusals: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    rejections: list[str] = field(default_factory=list)

    def add(self, reply: Reply, question: Question, mask: Callable[[str], str]) -> bool:
        """Adds what is wrong with an answer. Returns whether nothing is."""
        try:
            rejection = _rejection(reply, question, mask)
        except ValueError as error:
            self.defects.append(str(error))
            return False
        if rejection:
            self.rejections.append(rejection)
        return not rejection

    def conclude(self, teacher: str) -> str:
        """Returns the warning.

        Raises:
            ConfigurationError: there were answers, but none that generation could use.
        """
        rows = len(self.rejections) + len(self.defects) + len(self.refusals)
        if self.defects and not self.rejections:
            raise ConfigurationError(f"{teacher} gave {rows} answers that generation could not use: {self.defects[-1]}")
        reasons = "; ".join(dict.fromkeys([*self.rejections, *self.defects, *self.refusals]))
        if self.rejections:
            which = f"all {rows} rows" if rows > 1 else "the one row"
            return f"warning: the filters reject {which} that {teacher} wrote as a trial ({reasons})"
        return (
            f"warning: {teacher} answers, but it refused each of the {rows} rows that were tried ({reasons}): shorten "
            "or remove rows like these"
        )


async def _ask(client: TeacherClient, question: Question, record: Callable[[Usage], None]) -> Reply:
    """Sends a request and records its cost.

    Raises:
        Transient: the endpoint cannot be reached, asks for a pause, or returns something that is not a completion.
        ConfigurationError: there is no room even for a request that is not of a row.
    """
    try:
        reply = await client.complete(question.messages, question.schema, suspect_row=question.of_row)
    except (RateLimited, TeacherUnavailable) as error:
        if isinstance(error, TeacherUnavailable) and error.maybe_paid:
            record(Usage(teacher_requests=1))
        raise Transient(str(error)) from error
    record(reply.usage or Usage(teacher_requests=1))
    if reply.finish == EMPTY:
        raise Transient(f"the teacher {client.where} returned a completion without a message")
    if reply.finish == CONTEXT_LENGTH and not question.of_row:
        raise ConfigurationError(
            f"the teacher {client.where} has no room for even one request: {reply.text[:_MESSAGE_LIMIT]}: "
            "check spec.generate.teacher.parameters"
        )
    return reply


def _rejection(reply: Reply, question: Question, mask: Callable[[str], str]) -> str:
    """Returns why the filters reject an answer; '' if they keep it.

    Raises:
        ValueError: generation could not use it; the message says why, and what to do.
    """
    if defect := _defect(reply, mask):
        raise ValueError(defect)
    try:
        return question.judge(reply.text, reply.finish)
    except ValueError as error:
        wrote = mask(reply.text)[:_MESSAGE_LIMIT]
        raise ValueError(f"{error}: it wrote {wrote!r}; use a model that follows instructions") from error


def _defect(reply: Reply, mask: Callable[[str], str]) -> str:
    """Returns why generation could not use an answer, and what to do; '' if it could."""
    if reply.finish == "length":
        return (
            "the answer was cut at its limit, which thoughts may use up: raise max_tokens in "
            "spec.generate.teacher.parameters"
        )
    if reply.finish == REFUSED:  # its text is the endpoint's, which might be taken for an answer
        return f"the endpoint refused it: {mask(reply.text)[:_MESSAGE_LIMIT]}"
    if reply.finish == CONTEXT_LENGTH:
        return f"it has no room for the request: {mask(reply.text)[:_MESSAGE_LIMIT]}"
    if reply.finish == CONTENT_FILTER:
        return "its content filter blocked it: check the endpoint's policies"
    if reply.refusal:
        return f"the model refused: {mask(reply.refusal)[:_MESSAGE_LIMIT]}"
    if not reply.text.strip() and reply.thoughts:
        return (
            "the answer is in reasoning_content alone, and its content is empty: turn off the endpoint's reasoning "
            "parser or the model's thinking, or raise max_tokens in spec.generate.teacher.parameters"
        )
    return ""
