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
_OF_ALL = re.compile(r"api.?key|^model_", re.IGNORECASE | re.MULTILINE)
"""Some vendors answer 400 for a bad key or (by its code) a missing model; these concern every row."""
_ACCOUNT = re.compile(
    r"credit balance|insufficient (credit|balance|fund|quota)|billing (hard limit|(is )?not active)"
    r"|budget (has been )?exceeded"
    r"|\b(key|token|account|subscription|trial|plan)\b[^.]{0,20}\bexpired|expired[^.]{0,20}\b(key|token|account|plan)\b",
    re.IGNORECASE,
)
"""What an endpoint says, in words or codes, of an account that a person has to see to, whatever the 4xx."""
_ACCOUNT_OR_LIMIT = re.compile(r"(?<!/)\bbilling\b|\bquota\b|exceeded[^.]{0,20} budget", re.IGNORECASE)
"""The same, but also said of limits that pass by themselves."""
_OF_A_LIMIT = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
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
        of_all = status == HTTPStatus.BAD_REQUEST and _OF_ALL.search("\n".join((*self.codes, self.words)))
        return "" if of_all else REFUSED

    def holds(self, status: int) -> bool:
        """Returns whether the account behind the endpoint lacks money, or its key or plan has expired.

        To be asked before `finish_where_others_pass`: what an account lacks is no row's fault.
        """
        of_a_server = status >= HTTPStatus.INTERNAL_SERVER_ERROR  # whose words may be about anything
        said = "\n".join(self.codes if of_a_server else (*self.codes, self.words)).replace("_", " ")
        if status == HTTPStatus.PAYMENT_REQUIRED or _ACCOUNT.search(said):
            return True
        return not of_a_server and status not in _OF_A_LIMIT and bool(_ACCOUNT_OR_LIMIT.search(said))

    @property
    def maybe_paid(self) -> bool:
        """Returns whether it may have been charged: output that fails a filter or a schema was written first."""
        return self.finish == CONTENT_FILTER or _INVALID_OUTPUT in self.codes


def read_refusal(body: Any, otherwise: str) -> Refusal:
    """Reads the body of an error, in whatever form an endpoint gives it: an object, a list of such, or a text.

    Args:
        body: the decoded body, or its member `error`.
        otherwise: the text if the body has none.
    """
    if isinstance(body, list) and body:  # Gemini's
        return read_refusal(body[0], otherwise)
    if isinstance(body, dict) and isinstance(body.get("error"), dict | list | str) and not body.get("message"):
        return read_refusal(body["error"], otherwise)
    if isinstance(body, str) and body.strip() and not body.lstrip().startswith("<"):
        return Refusal(body.strip())
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
