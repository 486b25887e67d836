"""What a client says of a run."""

from __future__ import annotations

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.client.runs import IterationResult, Run
from llm2llm.records import Metric


@pytest.mark.parametrize(
    ("phase", "ended"),
    [("Pending", False), ("Running", False), ("Suspended", False), ("Succeeded", True), ("Failed", True)],
)
def test_a_run_has_ended_if_it_does_nothing_more(phase: str, ended: bool):
    spec = AugmentationRunSpec.model_validate(builders.spec())
    assert Run("a", "default", spec, phase).ended is ended


def test_the_score_is_the_one_that_the_objective_refers_to():
    judged = Metric(name="accuracy", dataset="evaluation", value=0.5, examples=10, low=0.2, high=0.8)
    assert IterationResult(0, "0", judged=judged).score == 0.5
    assert IterationResult(0, "0").score is None
