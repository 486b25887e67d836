"""Evictions and preemptions are counted apart from failures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support.attempts import NOW, attempt_in_progress

from llm2llm_operator.decide.policies import disruptions
from llm2llm_operator.reasons import Reason


@pytest.mark.parametrize(("count", "given_up"), [(0, False), (3, False), (4, True)])
def test_a_step_survives_as_many_as_are_allowed(count: int, given_up: bool):
    inputs, status = attempt_in_progress([], maxDisruptions=3)
    verdict = disruptions.exceeded(inputs, status.with_step(disruptions=count))
    assert (verdict is not None) == given_up
    assert verdict is None or (verdict.reason, "4 pods" in verdict.message) == (Reason.TOO_MANY_DISRUPTIONS, True)


@pytest.mark.parametrize(
    ("pods", "words"),
    [
        pytest.param([], "", id="no pod is left to tell"),
        pytest.param([{"running": True}], "", id="none was disrupted"),
        pytest.param([{"disrupted": True, "disruption": "PreemptionByScheduler: preempting"}],
                     "pod j-x: PreemptionByScheduler: preempting", id="fault 61: a preemption"),
        pytest.param([{"disrupted": True, "disruption": "TerminationByKubelet", "rejection": "Evicted: low on memory"}],
                     "pod j-x: Evicted: low on memory", id="fault 61: what the kubelet says of the pod is more"),
        pytest.param([{"disrupted": True, "disruption": "a", "created": NOW}, {"name": "b", "disrupted": True, "disruption": "b",
                      "created": NOW + timedelta(minutes=1)}], "pod b: b", id="the newest counts"),
    ],
)  # fmt: skip
def test_the_clusters_words_about_a_disruption(pods: list[dict[str, Any]], words: str):
    inputs, status = attempt_in_progress(pods, maxDisruptions=0)
    assert disruptions.last_words(inputs, status) == words
    verdict = disruptions.exceeded(inputs, status.with_step(disruptions=1))
    assert verdict is not None
    assert words in verdict.message
