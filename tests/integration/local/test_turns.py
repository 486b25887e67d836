"""Which of the tests that take turns are collected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        pytest.param({"LLM2LLM_TURN": "0"}, [], 1, id="one has its turn"),
        pytest.param({"LLM2LLM_SWEEP": "full"}, [], 6, id="a full sweep"),
        pytest.param({}, ["-k", "however_a_command_ends"], 6, id="named"),
    ],
)
def test_what_is_collected(environ: dict[str, str], arguments: list[str], expected: int):
    """Six ways of ending a command take turns."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:randomly", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, "tests/integration/local/test_hold.py", *arguments],
        cwd=CHECKOUT, env={"PATH": "/usr/bin:/bin"} | environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.count("::test_fault_66_however_a_command_ends_the_next_one_goes_on[") == expected
