"""Pure: what counts as an answer, and as a right one."""

from __future__ import annotations

from collections.abc import Sequence

CORRECT = "correct"
WRONG = "wrong"
NO_ANSWER = "noAnswer"
TRUNCATED = "truncated"
"""The output reached its token limit without an end: wrong, and told apart because more tokens may mend it."""


def fold(text: str) -> str:
    """Text without regard to case and to how much space lies between words."""
    return " ".join(text.split()).casefold()


def exact_answer(output: str) -> str | None:
    """The whole output, trimmed; None where nothing is left."""
    return output.strip() or None


def chosen_label(output: str, labels: Sequence[str]) -> str | None:
    """The label that the whole trimmed output is, after case and space folding; never one that it only contains."""
    folded = fold(output)
    return next((label for label in labels if fold(label) == folded), None)


def verdict(answer: str | None, completion: str) -> str:
    """Whether an extracted answer is the row's completion, both trimmed."""
    if answer is None:
        return NO_ANSWER
    return CORRECT if answer == completion.strip() else WRONG
