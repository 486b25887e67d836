"""When a run is looked at again: at the first of the moments that matter."""

from __future__ import annotations

import pytest

from llm2llm_operator.decide.actions import earliest


@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        pytest.param((), None, id="nothing matters"),
        pytest.param((None, None), None, id="nothing is set"),
        pytest.param((None, 30.0, 5.0), 5.0, id="the shortest of those that are set"),
        pytest.param((0.0, 5.0, None), 0.0, id="at once is a time, too"),
    ],
)
def test_the_shortest_pause_counts(pauses: tuple[float | None, ...], expected: float | None):
    assert earliest(*pauses) == expected
