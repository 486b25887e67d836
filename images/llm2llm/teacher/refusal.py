"""PURE: why an endpoint refused a request: its words, the parameters that it names, and whether it is one row's fault.

OpenAI names one parameter in `param`; FastAPI, and so many servers of open models, gives a list of problems in `detail`
with the place of each, as pydantic does (Mistral: the same, within `message`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from llm2llm.teacher.reply import CONTENT_FILTER, CONTEXT_LENGTH, REFUSED

_FILTERED = {"content_filter", "content_policy_violation", "invalid_prompt"}
_NOT_VALID = "json_validate_failed"
"""Groq's, for what the model wrote and the schema does not allow: nothing is wrong with the schema."""
_LENGTH = {"context_length_exceeded", "exceed_context_size_error"}
_TOO_LONG = re.compile(
    r"maximum context length|(prompt|input|request) is too long|exceeds the maximum number of tokens"
    r"|exceeds the available context size|exceeds? the context window",
    re.IGNORECASE,
)
_MODERATION = re.compile(r"moderation|flagged|(content|usage) polic|safety", re.IGNORECASE)
_ACCOUNT = re.compile(
    r"api.?key|credit balance|insufficient (credit|balance|fund)|billing|quota|^model_", re.IGNORECASE | re.MULTILINE
)
"""Some vendors tell with a 400 of keys, of money, or by a code of a model that is gone: of every row alike."""
OF_A_REQUEST = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True)
class Refusal:
    """A refusal.

    Attributes:
        words: the endpoint's own, without what the client puts around them.
        named: parameters that it names apart from its words.
        codes: its kind, by the endpoint's names.
    """

    words: str
    named: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()

    @property
    def finish(self) -> str:
        """How the reply to this row ends where the endpoint says outright that it is about the row; '' where not."""
        if _FILTERED & set(self.codes):
            return CONTENT_FILTER
        if _LENGTH & set(self.codes) or _TOO_LONG.search(self.words):
            return CONTEXT_LENGTH
        return REFUSED if _NOT_VALID in self.codes else ""

    def finish_where_others_pass(self, status: int) -> str:
        """The same of an endpoint that has answered another row: what it refuses now is this one."""
        if status == HTTPStatus.FORBIDDEN and _MODERATION.search(self.words):
            return CONTENT_FILTER
        if status not in OF_A_REQUEST or "model" in self.named:
            return ""
        account = status == HTTPStatus.BAD_REQUEST and _ACCOUNT.search("\n".join((*self.codes, self.words)))
        return "" if account else REFUSED

    @property
    def maybe_paid(self) -> bool:
        """What did not pass a filter or a schema may have been written first."""
        return self.finish == CONTENT_FILTER or _NOT_VALID in self.codes


def read_refusal(body: Any, otherwise: str) -> Refusal:
    """What the document of an error says.

    Args:
        body: the document, or what it holds under `error`.
        otherwise: the words where it has none.
    """
    if not isinstance(body, dict):
        return Refusal(otherwise)
    codes = tuple(str(body[name]) for name in ("code", "type") if body.get(name))
    message = body.get("message")
    detail = message.get("detail") if isinstance(message, dict) else body.get("detail")
    problems = [problem for problem in detail if isinstance(problem, dict)] if isinstance(detail, list) else []
    if problems:
        places = [_place(problem) for problem in problems]
        words = [
            f"{'.'.join(place)}: {problem.get('msg', '')}" for place, problem in zip(places, problems, strict=True)
        ]
        return Refusal("; ".join(words), tuple(dict.fromkeys(place[0] for place in places if place)), codes)
    parameter = body.get("param")
    return Refusal(str(message or detail or otherwise), (str(parameter),) if parameter else (), codes)


def _place(problem: dict[str, Any]) -> list[str]:
    """Where in the document that was sent: `loc` without its first part, which is always "body"."""
    place = problem.get("loc")
    return [str(part) for part in place[1:]] if isinstance(place, list) else []
