"""PURE: reads why an endpoint refused a request: its text, the parameters that it names, and whether one row is at
fault.

OpenAI names one parameter in `param`. FastAPI, and therefore many servers of open models, gives a list of problems in
`detail` with the location of each, as pydantic does (Mistral: the same, within `message`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from llm2llm.teacher.reply import CONTENT_FILTER, CONTEXT_LENGTH, REFUSED

_FILTER_CODES = {"content_filter", "content_policy_violation", "invalid_prompt"}
_INVALID_OUTPUT = "json_validate_failed"
"""Groq's code for model output that the schema does not allow; nothing is wrong with the schema."""
_LENGTH_CODES = {"context_length_exceeded", "exceed_context_size_error"}
_TOO_LONG = re.compile(
    r"maximum context length|(prompt|input|request) is too long|exceeds the maximum number of tokens"
    r"|exceeds the available context size|exceeds? the context window",
    re.IGNORECASE,
)
_MODERATION = re.compile(r"moderation|flagged|(content|usage) polic|safety", re.IGNORECASE)
_ACCOUNT = re.compile(
    r"api.?key|credit balance|insufficient (credit|balance|fund)|billing|quota|^model_", re.IGNORECASE | re.MULTILINE
)
"""Some vendors answer 400 for a bad key, missing credit, or (by its code) a missing model; these concern every row."""
OF_A_REQUEST = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True)
class Refusal:
    """A refused request.

    Attributes:
        words: the endpoint's own text, without what the client adds around it.
        named: parameters that it names apart from its text.
        codes: the kinds of error, by the endpoint's names.
    """

    words: str
    named: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()

    @property
    def finish(self) -> str:
        """Returns the finish of the row's reply if the refusal is explicitly about the row, else ''."""
        if _FILTER_CODES & set(self.codes):
            return CONTENT_FILTER
        if _LENGTH_CODES & set(self.codes) or _TOO_LONG.search(self.words):
            return CONTEXT_LENGTH
        return REFUSED if _INVALID_OUTPUT in self.codes else ""

    def finish_where_others_pass(self, status: int) -> str:
        """Returns the same for an endpoint that has answered another row, so that this row is likely at fault."""
        if status == HTTPStatus.FORBIDDEN and _MODERATION.search(self.words):
            return CONTENT_FILTER
        if status not in OF_A_REQUEST or "model" in self.named:
            return ""
        account = status == HTTPStatus.BAD_REQUEST and _ACCOUNT.search("\n".join((*self.codes, self.words)))
        return "" if account else REFUSED

    @property
    def maybe_paid(self) -> bool:
        """Returns whether it may have been charged: output that fails a filter or a schema was written first."""
        return self.finish == CONTENT_FILTER or _INVALID_OUTPUT in self.codes


def read_refusal(body: Any, otherwise: str) -> Refusal:
    """Reads the JSON body of an error.

    Args:
        body: the body, or its member `error`.
        otherwise: the text if the body has none.
    """
    if not isinstance(body, dict):
        return Refusal(otherwise)
    codes = tuple(str(body[name]) for name in ("code", "type") if body.get(name))
    message = body.get("message")
    detail = message.get("detail") if isinstance(message, dict) else body.get("detail")
    problems = [problem for problem in detail if isinstance(problem, dict)] if isinstance(detail, list) else []
    if problems:
        locations = [_location(problem) for problem in problems]
        words = [
            f"{'.'.join(location)}: {problem.get('msg', '')}"
            for location, problem in zip(locations, problems, strict=True)
        ]
        return Refusal("; ".join(words), tuple(dict.fromkeys(location[0] for location in locations if location)), codes)
    parameter = body.get("param")
    return Refusal(str(message or detail or otherwise), (str(parameter),) if parameter else (), codes)


def _location(problem: dict[str, Any]) -> list[str]:
    """Returns the location in the sent document: `loc` without its first part, which is always "body"."""
    place = problem.get("loc")
    return [str(part) for part in place[1:]] if isinstance(place, list) else []
