"""PURE: checks that a student that has learned a row perfectly would get it right."""

from __future__ import annotations

import unicodedata
from itertools import takewhile
from operator import eq

from llm2llm.tasks import Task, grading

_BEFORE = 8
_SHOWN = 20
"""Characters of a text that are shown, _BEFORE of them before the first difference: a reason is one line of many."""


def answer_problem(completion: str, decoded: str, task: Task) -> str | None:
    """Returns why no student could give this answer, or None.

    Args:
        completion: of a row.
        decoded: the completion's tokens, decoded like an answer.
        task: of the run; a difference that its grader ignores is not a problem.
    """
    if task.grade(decoded, completion)[1] == grading.CORRECT:
        return None
    wanted = completion.strip()
    common = sum(takewhile(bool, map(eq, wanted, decoded)))
    start = max(0, common - _BEFORE)
    shown, read = (text[start : start + _SHOWN] for text in (wanted, decoded))
    composed = unicodedata.is_normalized("NFC", wanted)
    what = "write it that way, or without the characters that are lost" if composed else "write it in Unicode NFC"
    return f"the tokenizer turns {shown!r} into {read!r}: {what}"
