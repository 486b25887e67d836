"""Which of the known names was meant."""

from __future__ import annotations

import pytest

from llm2llm.suggestion import closest, did_you_mean


@pytest.mark.parametrize(
    ("given", "known", "name"),
    [
        ("Biling", ["Returns", "Billing"], "Billing"),
        ("message", ["Message", "Subject"], "Message"),
        ("Subject", ["Subject ", "Message"], "Subject "),
        ("api_key", ["api-key"], "api-key"),
        ("xyz", ["Message"], None),
        ("x", [], None),
    ],
)
def test_the_closest_name(given: str, known: list[str], name: str | None):
    assert closest(given, known) == name
    assert did_you_mean(given, known) == (f": did you mean {name!r}?" if name else "")
