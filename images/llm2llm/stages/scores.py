"""PURE: a score with the size of its sample and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llm2llm.errors import MetricInvalid
from llm2llm.records import Metric, Prediction

_Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile, for an interval of 95 %."""


def wilson(successes: int, examples: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, 1927, J. Am. Stat. Assoc. 22): between 0 and 1, and never empty."""
    if examples == 0:
        return 0.0, 1.0
    share = successes / examples
    spread = _Z * math.sqrt(share * (1 - share) / examples + _Z**2 / (4 * examples**2))
    centre = share + _Z**2 / (2 * examples)
    scale = 1 + _Z**2 / examples
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == examples else (centre + spread) / scale
    return low, high


def accuracy(dataset: str, predictions: Sequence[Prediction]) -> Metric:
    """The share of correct predictions.

    Raises:
        MetricInvalid: there is no prediction, so the share is not a number.
    """
    if not predictions:
        raise MetricInvalid(f"accuracy on the {dataset} set is not a number: it has no rows")
    correct = sum(prediction.correct for prediction in predictions)
    low, high = wilson(correct, len(predictions))
    return Metric(
        name="accuracy",
        dataset=dataset,
        value=correct / len(predictions),
        examples=len(predictions),
        low=round(low, 6),
        high=round(high, 6),
    )
