"""The tickets of examples/tickets are what their generator writes, and have the faults that the page names."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.support.corpus import EXAMPLES

FOLDER = EXAMPLES / "tickets"
FILE = FOLDER / "tickets.csv"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(FILE.read_bytes().decode("cp1252"), newline=""), delimiter=";"))


def test_the_generator_writes_the_same_bytes(tmp_path: Path):
    made = tmp_path / "tickets.csv"
    subprocess.run([sys.executable, "-B", str(FOLDER / "make.py"), "--out", str(made)], check=True)
    assert made.read_bytes() == FILE.read_bytes()


def test_there_are_800_with_ids_of_their_own(rows: list[dict[str, str]]):
    assert len(rows) == len({row["ticket_id"] for row in rows}) == 800


def test_cells_are_empty_as_often_as_the_page_says(rows: list[dict[str, str]]):
    assert [sum(not row[column] for row in rows) for column in ("queue", "subject", "text")] == [11, 15, 3]


def test_tickets_came_twice_and_some_of_them_were_sorted_into_two_queues(rows: list[dict[str, str]]):
    texts = Counter((row["subject"], row["text"]) for row in rows if row["text"])
    answers: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row["text"]:
            answers.setdefault((row["subject"], row["text"]), set()).add(row["queue"].strip().lower())
    assert sum(count - 1 for count in texts.values()) == 9 + 4
    assert sum(len(queues) == 2 for queues in answers.values()) == 4


def test_it_is_not_in_utf_8():
    with pytest.raises(UnicodeDecodeError):
        FILE.read_text(encoding="utf-8")
