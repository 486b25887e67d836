"""PURE: computes scores with their sample sizes and intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from llm2llm.errors import MetricInvalid
from llm2llm.records import ACCURACY, MACRO_F1, Example, Metric, Prediction
from llm2llm.tasks import Task, grading

_Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile, for an interval of 95 %."""
RESAMPLES = 1000
"""Resamples of the bootstrap: enough for the ends of a 95 % interval (Efron and Tibshirani, 1993, ch. 13)."""

Cell = tuple[str, str | None]
"""The class of a row and the class that the student gave it; None if it gave none."""


def score_predictions(
    dataset: str, examples: Sequence[Example], predictions: Sequence[Prediction], task: Task
) -> tuple[list[Metric], dict[str, Any]]:
    """Returns the scores of a set and its part of `scores.json`, with each class if there are labels.

    Raises:
        MetricInvalid: the set has no rows.
    """
    metrics = [accuracy(dataset, predictions)]
    document: dict[str, Any] = {}
    if task.choice:
        cells = confusion(examples, predictions, task)
        metrics.append(macro_f1(dataset, cells))
        document["classes"] = [_class_scores(label, cells) for label in _classes(cells)]
    document["metrics"] = [metric.model_dump(mode="json", by_alias=True) for metric in metrics]
    return metrics, document


def wilson(successes: int, examples: int) -> tuple[float, float]:
    """Returns the 95 % score interval of a share, in [0, 1] and never empty (Wilson, 1927, J. Am. Stat. Assoc. 22)."""
    if examples == 0:
        return 0.0, 1.0
    share = successes / examples
    spread = _Z * math.sqrt(share * (1 - share) / examples + _Z**2 / (4 * examples**2))
    center = share + _Z**2 / (2 * examples)
    scale = 1 + _Z**2 / examples
    low = 0.0 if successes == 0 else (center - spread) / scale
    high = 1.0 if successes == examples else (center + spread) / scale
    return low, high


def accuracy(dataset: str, predictions: Sequence[Prediction]) -> Metric:
    """Returns the share of correct predictions.

    Raises:
        MetricInvalid: there is no prediction, so the share is not a number.
    """
    if not predictions:
        raise MetricInvalid(f"accuracy on the {dataset} set is not a number: the set has no rows")
    correct = sum(prediction.correct for prediction in predictions)
    low, high = wilson(correct, len(predictions))
    return _metric(ACCURACY, dataset, correct / len(predictions), len(predictions), low, high)


def confusion(examples: Sequence[Example], predictions: Sequence[Prediction], task: Task) -> Counter[Cell]:
    """Counts how often each class was predicted as which; an answer without a label, or cut off, counts as None."""
    return Counter(
        (task.extract(example.completion) or "", None if prediction.verdict == grading.TRUNCATED else prediction.answer)
        for example, prediction in zip(examples, predictions, strict=True)
    )


def macro_f1(dataset: str, cells: Mapping[Cell, int]) -> Metric:
    """Returns the mean of F1 = 2 TP / (2 TP + FP + FN) over the classes that occur in the set's completions.

    An answer that is not a label is a miss (FN) of the row's class and a false alarm (FP) of none. A class that was
    never predicted has F1 0. So it equals scikit-learn's
    `f1_score(labels=sorted(set(y_true)), average="macro", zero_division=0)`.

    The interval is the 95 % percentile bootstrap over rows (Efron, 1979, Ann. Stat. 7), of RESAMPLES draws from a fixed
    seed: equal predictions have equal intervals. If all rows are right, or all wrong, every resample is the same and
    says nothing; then Wilson's interval of the accuracy is used instead.

    Raises:
        MetricInvalid: there are no rows.
    """
    rows = sum(cells.values())
    if not rows:
        raise MetricInvalid(f"macroF1 on the {dataset} set is not a number: the set has no rows")
    keys = sorted(cells, key=lambda cell: (cell[0], cell[1] is not None, cell[1] or ""))
    counts = np.array([cells[key] for key in keys], dtype=np.int64)
    value = float(_macro_f1(counts[None, :], keys)[0])
    # The legacy generator's stream is frozen forever, that of default_rng is not (NumPy, NEP 19).
    draws = np.random.RandomState(0).multinomial(rows, counts / rows, size=RESAMPLES)
    low, high = (float(end) for end in np.quantile(_macro_f1(draws, keys), (0.025, 0.975)))
    right = sum(count for (truth, answer), count in cells.items() if truth == answer)
    if right in (0, rows):
        low, high = wilson(right, rows)
    return _metric(MACRO_F1, dataset, value, rows, min(low, value), max(high, value))


def _macro_f1(counts: np.ndarray[Any, Any], keys: Sequence[Cell]) -> np.ndarray[Any, Any]:
    """Returns macro-F1 of each row of counts; a class without a row in a resample is not part of that mean."""
    total = np.zeros(len(counts))
    classes = np.zeros(len(counts))
    for label in _classes(keys):
        of_class = np.array([truth == label for truth, _ in keys])
        answered = np.array([answer == label for _, answer in keys])
        actual, claimed = counts[:, of_class].sum(axis=1), counts[:, answered].sum(axis=1)
        occurs = actual > 0
        hits = counts[:, of_class & answered].sum(axis=1)
        total += np.where(occurs, 2 * hits / np.maximum(actual + claimed, 1), 0.0)
        classes += occurs
    mean: np.ndarray[Any, Any] = total / classes
    return mean


def _classes(cells: Iterable[Cell]) -> list[str]:
    return sorted({truth for truth, _ in cells})


def _class_scores(label: str, cells: Mapping[Cell, int]) -> dict[str, Any]:
    """Returns the examples of a class, how many of them are right, their share, and the class's F1."""
    examples = sum(count for (truth, _), count in cells.items() if truth == label)
    claimed = sum(count for (_, answer), count in cells.items() if answer == label)
    right = cells.get((label, label), 0)
    return {
        "label": label,
        "examples": examples,
        "right": right,
        "accuracy": round(right / examples, 6),
        "f1": round(2 * right / (examples + claimed), 6),
    }


def _metric(name: str, dataset: str, value: float, examples: int, low: float, high: float) -> Metric:
    return Metric(name=name, dataset=dataset, value=value, examples=examples, low=round(low, 6), high=round(high, 6))
