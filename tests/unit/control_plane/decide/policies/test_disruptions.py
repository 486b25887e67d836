"""Evictions and preemptions are counted apart from failures."""

from __future__ import annotations

import pytest
from tests.support.attempts import attempt_in_progress

from llm2llm_operator.decide.policies import disruptions
from llm2llm_operator.reasons import Reason


@pytest.mark.parametrize(("count", "given_up"), [(0, False), (3, False), (4, True)])
def test_a_step_survives_as_many_as_are_allowed(count: int, given_up: bool):
    inputs, status = attempt_in_progress([], maxDisruptions=3)
    verdict = disruptions.exceeded(inputs, status.with_step(disruptions=count))
    assert (verdict is not None) == given_up
    assert verdict is None or (verdict.reason, "4 pods" in verdict.message) == (Reason.TOO_MANY_DISRUPTIONS, True)
