"""Builds the request for one row: the mistake, the right answer, the wrong one, and a few examples of the task.

Each row is shown as one line of JSON: whatever a row contains stays data, and the shape of the prompt stays the same.
The prompt is a pure function of committed inputs, so a resumed round sends the same requests and the ledger has their
answers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm2llm.records import Example

COMPLETION = "completion"
EXAMPLES_SHOWN = 2
EARLIER_SHOWN = 8
"""Maximum number of earlier rows for this seed that the teacher is shown: the newest ones."""
OUTPUT_LIMIT = 2000
"""Maximum characters of the student's wrong answer that are shown."""

SYSTEM = (
    "You write training examples for a small language model that is learning a task. "
    "Answer with one JSON object and nothing else."
)


@dataclass(frozen=True)
class Mistake:
    """A seed example that the student got wrong, and the student's answer.

    In the control arm (`strategy: Untargeted`) it is any seed example, without an answer: the student plays no part.
    """

    example: Example
    output: str | None


@dataclass(frozen=True)
class Assignment:
    """One row that the teacher should write: number `sample` (from 1) of `samples` for a mistake."""

    mistake: Mistake
    sample: int
    samples: int
    shown: Sequence[Example]
    """Examples of the task."""
    earlier: Sequence[Example]
    """Rows that the teacher wrote for this seed in earlier iterations."""
    refused: Sequence[str]
    """Answers to this assignment in earlier waves, and why they were refused."""


def response_schema(example: Example, *, choice: bool) -> dict[str, Any]:
    """Returns the JSON schema of a new row: the fields of the task and, unless the label is given, the completion."""
    names = sorted(example.fields) + ([] if choice else [COMPLETION])
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def messages(assignment: Assignment, instructions: str, *, choice: bool) -> list[dict[str, str]]:
    """Builds the chat that requests one row."""
    parts = [
        f"The task: {instructions or 'see the examples.'}",
        _section("Examples of the task:", [_row(shown) for shown in assignment.shown]),
        _mistake_text(assignment.mistake),
        _section("Written for it before, do not repeat these:", [_fields(row.fields) for row in assignment.earlier]),
        _section("Your earlier answers to this request were refused:", list(assignment.refused)),
        _request_text(assignment, choice=choice),
    ]
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "\n\n".join(part for part in parts if part)},
    ]


def examples_to_show(seeds: Sequence[Example], mistake: Example, rng: random.Random) -> list[Example]:
    """Draws other seed examples with `rng`; never the mistake itself, never a held-out row."""
    others = [seed for seed in seeds if seed.id != mistake.id]
    return rng.sample(others, min(EXAMPLES_SHOWN, len(others)))


def refusal(fields: Mapping[str, str] | None, text: str, reason: str) -> str:
    """Formats a refused answer as one line for the next wave's prompt."""
    shown = _fields(fields) if fields else _text(text[:200])
    return f"{shown} ({reason})"


def _request_text(assignment: Assignment, *, choice: bool) -> str:
    names = ", ".join(_text(name) for name in sorted(assignment.mistake.example.fields))
    aim = "practises what the small model lacks here" if assignment.mistake.output is not None else "is of its kind"
    number = f"This is number {assignment.sample} of {assignment.samples} for it; make each different."
    if choice:
        return (
            f"Write one new example that {aim}, and whose right answer is "
            f"{_text(assignment.mistake.example.completion)}. {number} Give only the input, as a JSON object with the "
            f"keys {names}."
        )
    return (
        f"Write one new example that {aim}, with its right answer. {number} Give a "
        f'JSON object with the keys {names} and "{COMPLETION}".'
    )


def _mistake_text(mistake: Mistake) -> str:
    shown = f"{_fields(mistake.example.fields)}\nRight answer: {_text(mistake.example.completion)}"
    if mistake.output is None:
        return f"Write one like this:\n{shown}"
    return f"The small model got this one wrong:\n{shown}\nIts answer: {_text(mistake.output[:OUTPUT_LIMIT])}"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *lines]) if lines else ""


def _row(example: Example) -> str:
    return _fields({**example.fields, COMPLETION: example.completion})


def _fields(fields: Mapping[str, str]) -> str:
    return json.dumps(dict(fields), ensure_ascii=False, sort_keys=True)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
