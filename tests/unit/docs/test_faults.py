"""docs/faults.md names every test that carries a fault's number, and no other."""

from __future__ import annotations

import re

import pytest
from tests.support.faulttable import CHECKOUT, NOT_BUILT, PAGE, all_sentences, cell, rewritten, rows_of, sentences_in

TEXT = PAGE.read_text(encoding="utf-8")
ROWS = rows_of(TEXT)


def test_the_numbers_are_those_from_one_on_without_a_gap():
    assert list(ROWS) == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("number", ROWS)
def test_a_row_names_the_tests_that_carry_its_number(number: int):
    assert ROWS[number] == cell(all_sentences().get(number, set())), "run: python -m tests.support.faulttable"


def test_no_test_carries_a_number_that_has_no_row():
    assert all_sentences().keys() - ROWS.keys() == set()


def test_what_was_tested_once_stays_tested():
    assert [number for number, tests in ROWS.items() if tests == NOT_BUILT and number <= 52] == []


def test_a_fault_that_the_code_cites_has_a_row():
    cited: set[int] = set()
    for folder in ("operator", "images", "tests", "benchmarks"):
        for file in (CHECKOUT / folder).rglob("*.py"):
            cited |= {int(number) for number in re.findall(r"\bfaults? (\d+)\b", file.read_text(encoding="utf-8"))}
    assert cited - ROWS.keys() == set()


def test_a_number_counts_in_a_name_or_an_id_and_nowhere_else():
    source = 'def test_fault_01_02_it_holds(): ...\nids = ["fault 3: so does this", "a fault 5: and this"]\n'
    assert sentences_in(source) == {1: {"it holds"}, 2: {"it holds"}, 3: {"so does this"}}


def test_rewriting_changes_the_last_column_alone():
    page = 'Words.\n\n| <a id="fault-01"></a>1 | a fault | what is right | old |\n'
    assert rewritten(page, {1: {"b", "a"}}) == page.replace("old", "· a<br>· b")
    assert rewritten(page, {}) == page.replace("old", NOT_BUILT)
