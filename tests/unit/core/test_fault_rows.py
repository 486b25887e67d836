"""Every fault that the design speaks of has a test that carries its number.

The number is in the test's name (`test_fault_07_...`, `test_fault_01_02_...`) or in the id of a case ("fault 39: ...").
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
ROWS = set(range(1, 53))


def numbers(source: str) -> set[int]:
    """The rows that a test file names, in names of tests and in ids of cases."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = re.match(r"test_fault((_\d+)+)_", node.name)
            found |= {int(number) for number in re.findall(r"\d+", named[1])} if named else set()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            case = re.match(r"fault (\d+): ", node.value)
            found |= {int(case[1])} if case else set()
    return found


def test_every_row_has_a_test():
    tested: set[int] = set()
    for file in TESTS.rglob("test_*.py"):
        tested |= numbers(file.read_text(encoding="utf-8"))
    assert ROWS - tested == set()


def test_a_number_counts_in_a_name_or_an_id_and_nowhere_else():
    source = 'def test_fault_01_02_x(): ...\nids = ["fault 3: z", "a fault 5: z"]\n'
    assert numbers(source) == {1, 2, 3}
