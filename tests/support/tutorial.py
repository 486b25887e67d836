"""The commands that docs/tutorial.md shows, with their answers, and a folder to run them in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.corpus import EXAMPLES

PAGE = EXAMPLES.parent / "docs" / "tutorial.md"
BLOCK = re.compile(r"(<!-- not run: .+? -->\n)?^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = {"llm2llm": f"{sys.executable} -m llm2llm.cli", "python": sys.executable}


class Shown(NamedTuple):
    command: str
    answer: str


def shown(*, run: bool) -> list[Shown]:
    """The commands of the blocks that are run here, or of the others, with what the page says that they answer."""
    text = "".join(block for reason, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if bool(reason) != run)
    commands = (part.partition("\n") for part in re.split(r"^\$ ", text, flags=re.MULTILINE) if part)
    return [Shown(command, answer) for command, _, answer in commands]


def work_folder(folder: Path) -> Path:
    """Makes the folder that the page works in: two below a checkout."""
    (folder / "examples").symlink_to(EXAMPLES)
    work = folder / "out" / "tickets"
    work.mkdir(parents=True)
    return work


def answer(command: str, folder: Path, **variables: str) -> str:
    """What a command of the page prints, its warnings and steps included."""
    name, _, rest = command.partition(" ")
    paths = {"PWD": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAMS.get(name, name)} {rest}"],
        cwd=folder,
        env=os.environ | paths | {"COLUMNS": "100"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout
