"""The tests that carry a fault's number, and the column of docs/faults.md that names them.

A test carries a number in its name (`test_fault_07_...`, `test_fault_01_02_...`) or in the id of a case ("fault 39: ...").
The rest of the name, or of the id, is the sentence that the page shows.

    python -m tests.support.faulttable     rewrites the column
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "faults.md"
NOT_BUILT = "**not built yet**"
_ROW = re.compile(
    r'^\| <a id="fault-(?P<number>\d\d)"></a>\d+ \| (?P<fault>.*) \| (?P<behavior>.*) \| (?P<tests>.*) \|$'
)


def sentences_in(source: str) -> dict[int, set[str]]:
    """Number to the sentences of the tests in a file that carry it."""
    found: dict[int, set[str]] = defaultdict(set)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if named := re.match(r"test_fault((?:_\d\d)+)_(\w+)$", node.name):
                for number in named[1].split("_")[1:]:
                    found[int(number)].add(named[2].replace("_", " "))
        elif isinstance(node, ast.Constant) and (case := re.match(r"fault (\d+): (.+)$", str(node.value))):
            found[int(case[1])].add(case[2])
    return found


@cache
def all_sentences() -> dict[int, set[str]]:
    """The same of all test files."""
    found: dict[int, set[str]] = defaultdict(set)
    for file in (CHECKOUT / "tests").rglob("test_*.py"):
        for number, sentences in sentences_in(file.read_text(encoding="utf-8")).items():
            found[number] |= sentences
    return found


def rows_of(page: str) -> dict[int, str]:
    """Number to what the page's last column says."""
    return {int(row["number"]): row["tests"] for line in page.splitlines() if (row := _ROW.match(line))}


def cell(sentences: set[str]) -> str:
    """What the last column says of these tests."""
    return "<br>".join(f"· {sentence}" for sentence in sorted(sentences)) or NOT_BUILT


def rewritten(page: str, sentences: dict[int, set[str]]) -> str:
    """The page with its last column as the tests are now."""

    def replaced(line: str) -> str:
        row = _ROW.match(line)
        return line[: row.start("tests")] + cell(sentences.get(int(row["number"]), set())) + " |" if row else line

    return "".join(replaced(line) + "\n" for line in page.splitlines())


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), all_sentences()), encoding="utf-8")
