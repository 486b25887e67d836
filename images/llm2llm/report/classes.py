"""PURE: compares the classes of rows with the classes that the student answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llm2llm.report.collect import Contents
from llm2llm.tasks import task_of
from llm2llm.tasks.scores import Cell, confusion

MATRIX_LIMIT = 24
"""Maximum number of classes that a matrix shows legibly."""
CONFUSIONS = 12
"""Number of the most frequent mistakes that are listed."""


@dataclass(frozen=True)
class ClassScore:
    """The scores of a class; None where nothing was predicted as it, or no row has it."""

    label: str
    rows: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Classes:
    """The classes of the best iteration's answers.

    Attributes:
        dataset: the set that was answered.
        matrix: a row for each class of the rows, with a count for each class that was answered, and none last; empty
            if there are more classes than MATRIX_LIMIT.
        confusions: class, answer and count of the most frequent mistakes.
    """

    dataset: str
    scores: Sequence[ClassScore]
    matrix: Sequence[tuple[str, Sequence[int]]]
    confusions: Sequence[tuple[str, str | None, int]]


def classes_of(contents: Contents) -> Classes | None:
    """Returns the classes of the best iteration on the set that decides; None if the task has none."""
    best, spec = contents.best_iteration, contents.spec
    task = task_of(spec.task)
    if best is None or best.judged is None or not task.choice:
        return None
    dataset = best.judged.dataset
    examples = {row.id: row for row in (*(seed.example for seed in contents.seeds), *contents.held_out)}
    answers = [given for given in best.answers.get(dataset, ()) if given.id in examples]
    cells = confusion([examples[given.id] for given in answers], answers, task)
    if not cells:
        return None
    labels = sorted({truth for truth, _ in cells} | {answer for _, answer in cells if answer is not None})
    wrong = [(truth, answer, count) for (truth, answer), count in cells.most_common() if truth != answer]
    return Classes(
        dataset,
        [_score(label, cells) for label in labels],
        [(truth, [cells[truth, answer] for answer in (*labels, None)]) for truth in labels]
        if len(labels) <= MATRIX_LIMIT
        else [],
        wrong[:CONFUSIONS],
    )


def _score(label: str, cells: Counter[Cell]) -> ClassScore:
    right = cells[label, label]
    rows = sum(count for (truth, _), count in cells.items() if truth == label)
    predicted = sum(count for (_, answer), count in cells.items() if answer == label)
    return ClassScore(
        label,
        rows,
        right / predicted if predicted else None,
        right / rows if rows else None,
        2 * right / (rows + predicted) if rows + predicted else None,
    )
