"""PURE: why an endpoint refused a request: its words, and the parameters that it names.

OpenAI names one parameter in `param`; FastAPI, and so many servers of open models, gives a list of problems in `detail`
with the place of each, as pydantic does (Mistral: the same, within `message`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """A refusal.

    Attributes:
        words: the endpoint's own, without what the client puts around them.
        named: parameters that it names apart from its words.
    """

    words: str
    named: tuple[str, ...] = ()


def read_refusal(body: Any, otherwise: str) -> Refusal:
    """What the document of an error says.

    Args:
        body: the document, or what it holds under `error`.
        otherwise: the words where it has none.
    """
    if not isinstance(body, dict):
        return Refusal(otherwise)
    message = body.get("message")
    detail = message.get("detail") if isinstance(message, dict) else body.get("detail")
    problems = [problem for problem in detail if isinstance(problem, dict)] if isinstance(detail, list) else []
    if problems:
        places = [_place(problem) for problem in problems]
        words = [
            f"{'.'.join(place)}: {problem.get('msg', '')}" for place, problem in zip(places, problems, strict=True)
        ]
        return Refusal("; ".join(words), tuple(dict.fromkeys(place[0] for place in places if place)))
    parameter = body.get("param")
    return Refusal(str(message or detail or otherwise), (str(parameter),) if parameter else ())


def _place(problem: dict[str, Any]) -> list[str]:
    """Where in the document that was sent: `loc` without its first part, which is always "body"."""
    place = problem.get("loc")
    return [str(part) for part in place[1:]] if isinstance(place, list) else []
