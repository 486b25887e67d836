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
        ("", ["Message"], None),
        ("y" * 100_000, ["y" * 99_999], None),
        ("Messages and more of them", ["Message"], None),
    ],
)
def test_the_closest_name(given: str, known: list[str], name: str | None):
    assert closest(given, known) == name
    assert did_you_mean(given, known) == (f": did you mean {name!r}?" if name else "")


def test_the_same_question_is_answered_once(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def compare(given: str, *_: object, **__: object) -> list[str]:
        asked.append(given)
        return []

    monkeypatch.setattr("difflib.get_close_matches", compare)
    assert [did_you_mean("asked often", ["one", "another"]) for _ in range(100)] == [""] * 100
    assert asked == ["askedoften"]
