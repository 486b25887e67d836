"""What the command line says where a library is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llm2llm.cli.requirements import INSTALL

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("module", ["typer", "jinja2"])
def test_a_library_that_is_missing_is_named_with_what_to_install(module: str):
    arguments = ["validate", str(CHECKOUT / "examples" / "keyword" / "run.yaml")]
    blocked = (
        f"import sys; sys.modules[{module!r}] = None; from llm2llm.cli.start import main; sys.exit(main({arguments}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked],
        env={"PYTHONPATH": str(CHECKOUT / "images")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        64,
        f"this needs {module}, which is not installed: {INSTALL.format('local')}\n",
    )
