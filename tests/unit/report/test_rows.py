"""Which rows the page holds."""

from __future__ import annotations

import json

from tests.support import reports

from llm2llm.report.rows import TEXT_LIMIT, choose_rows, shortened


def test_a_row_has_its_text_its_label_and_the_answers_of_each_iteration():
    [first, *_] = choose_rows(reports.contents()).answered
    assert first == {
        "set": "seed",
        "row": 1,
        "id": "words0",
        "text": {"words": "words"},
        "label": "yes",
        "answers": [[0, "wrong", "words"], [1, "wrong", "words"]],
        "wrong": 2,
    }


def test_mistakes_come_before_what_was_never_wrong():
    rows = choose_rows(reports.contents()).answered
    assert [row["wrong"] for row in rows if row["set"] == "seed"] == [2, 1, 1, 0, 0, 0]
    assert len(rows) == 12


def test_a_written_row_names_its_seed_and_a_rejected_one_its_reason():
    kept, rejected, *_ = choose_rows(reports.contents("leak")).written
    assert (kept["verdict"], kept["seed"], kept["label"], kept["iteration"]) == ("kept", "leak0", "yes", 0)
    assert (rejected["verdict"], rejected["seed"], rejected["text"]) == ("leak", "leak0", {"": "leak"})


def test_what_has_no_room_is_counted_and_mistakes_are_the_last_to_go():
    whole = choose_rows(reports.contents(rows=200))
    size = len(json.dumps([*whole.answered, *whole.written], separators=(",", ":")))
    part = choose_rows(reports.contents(rows=200), limit=size // 2)
    assert sum(part.omitted.values()) == len(whole.answered) + len(whole.written) - len(part.answered) - len(
        part.written
    )
    assert len(json.dumps([*part.answered, *part.written], separators=(",", ":"))) <= size // 2 + 2  # the brackets
    assert all(row["wrong"] for row in part.answered)
    assert whole.omitted == {}


def test_one_row_of_a_megabyte_costs_the_others_nothing():
    assert shortened("y" * TEXT_LIMIT) == "y" * TEXT_LIMIT
    assert shortened("y" * 1_000_000) == "y" * TEXT_LIMIT + " … (1,000,000 characters)"
