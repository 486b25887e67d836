"""Asks the teacher one small question before a run begins, and judges the answer as generation would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from llm2llm.api import generate as api_generate
from llm2llm.errors import ConfigurationError, Transient
from llm2llm.records import Usage
from llm2llm.teacher.client import RateLimited, TeacherUnavailable
from llm2llm.teacher.connection import connect
from llm2llm.teacher.reply import CONTENT_FILTER, CONTEXT_LENGTH, EMPTY, REFUSED, Reply

ATTEMPTS = 3
_MESSAGE_LIMIT = 300


def probe(
    generate: api_generate.Generate,
    environ: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
    judge: Callable[[str], object] = lambda _: None,
    record: Callable[[Usage], None] = lambda _: None,
) -> None:
    """Sends a small request to show that address, key, model, roles and parameters work (stage Prepare).

    An answer that generation could not use is asked for again, since a model may slip once, up to ATTEMPTS times.

    Args:
        generate: the settings.
        environ: has the key.
        tell: receives changes of the requests' form.
        judge: looks for a JSON object in an answer as generation does; raises ValueError if there is none.
        record: receives the cost of each request that was, or may have been, paid for, before its answer is judged.

    Raises:
        Transient: the endpoint cannot be reached, asks for a pause, or returns something that is not a completion.
        AuthenticationError, TeacherQuotaExhausted, ConfigurationError: the endpoint refuses the request, or
            generation could not use any of its answers.
    """
    asyncio.run(_probe(generate.teacher, environ, tell, judge, record))


_PROBE = (
    {"role": "system", "content": "You check a connection. Answer with one JSON object and nothing else."},
    {"role": "user", "content": 'Answer with the JSON object {"ready": "yes"}.'},
)
"""Uses the same roles as generation."""


_SCHEMA = {
    "type": "object",
    "properties": {"ready": {"type": "string"}},
    "required": ["ready"],
    "additionalProperties": False,
}


async def _probe(
    teacher: api_generate.Teacher,
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    judge: Callable[[str], object],
    record: Callable[[Usage], None],
) -> None:
    defect = ""
    async with connect(teacher, environ, tell) as client:
        for _ in range(ATTEMPTS):
            try:
                reply = await client.complete(_PROBE, _SCHEMA)
            except (RateLimited, TeacherUnavailable) as error:
                if isinstance(error, TeacherUnavailable) and error.maybe_paid:
                    record(Usage(teacher_requests=1))
                raise Transient(f"{error}; the next attempt tries again") from error
            record(reply.usage or Usage(teacher_requests=1))
            if reply.finish == EMPTY:
                raise Transient(
                    f"the teacher {client.where} returned a completion without a message; the next attempt tries again"
                )
            if reply.finish == CONTEXT_LENGTH:
                raise ConfigurationError(
                    f"the teacher {client.where} has no room for even a small request: {reply.text[:_MESSAGE_LIMIT]}: "
                    "check spec.generate.teacher.parameters"
                )
            defect = _defect(reply, judge, client.mask)
            if not defect:
                return
    raise ConfigurationError(
        f"the teacher {client.where} gave {ATTEMPTS} answers to a small request that generation could not use: {defect}"
    )


def _defect(reply: Reply, judge: Callable[[str], object], mask: Callable[[str], str]) -> str:
    """Returns why generation could not use an answer, and what to do; '' if it could."""
    if reply.finish == "length":
        return (
            "the answer was cut at its limit, which thoughts may use up: raise max_tokens in "
            "spec.generate.teacher.parameters"
        )
    if reply.finish == REFUSED:  # its text is the endpoint's, which `judge` might take for an answer
        return f"the endpoint refused it: {mask(reply.text)[:_MESSAGE_LIMIT]}"
    if reply.finish == CONTENT_FILTER:
        return "its content filter blocked it: check the endpoint's policies"
    if reply.refusal:
        return f"the model refused: {mask(reply.refusal)[:_MESSAGE_LIMIT]}"
    if not reply.text.strip() and reply.thoughts:
        return (
            "the answer is in reasoning_content alone, and its content is empty: turn off the endpoint's reasoning "
            "parser or the model's thinking, or raise max_tokens in spec.generate.teacher.parameters"
        )
    try:
        judge(reply.text)
    except ValueError as error:
        return f"{error}: it wrote {mask(reply.text)[:_MESSAGE_LIMIT]!r}; use a model that follows instructions"
    return ""
