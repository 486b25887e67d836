"""PURE: whether a student that has learned a row perfectly would be right about it."""

from __future__ import annotations

import unicodedata
from itertools import takewhile
from operator import eq

from llm2llm.tasks import Task, grading

_BEFORE = 8
_SHOWN = 20
"""Characters of a text that are shown, some of them before the first that differs: a reason is one line of many."""


def answer_problem(completion: str, told: str, task: Task) -> str | None:
    """Why nobody could give this answer, or None.

    Args:
        completion: of a row.
        told: the text of its tokens, as an answer is read.
        task: of the run; what its grader takes for the same answer is no problem.
    """
    if task.judge(task.extract(told), completion) == grading.CORRECT:
        return None
    wanted = completion.strip()
    alike = sum(takewhile(bool, map(eq, wanted, told)))
    start = max(0, alike - _BEFORE)
    shown, read = (text[start : start + _SHOWN] for text in (wanted, told))
    composed = unicodedata.is_normalized("NFC", wanted)
    what = "write it that way, or without the characters that are lost" if composed else "write it in Unicode NFC"
    return f"the tokenizer turns {shown!r} into {read!r}: {what}"
